// The layout of every mail: what happened, the facts one per line, and what to do if it wasn't you. Sentences contain only
// our own words. Words that other people have chosen (names, tickets) appear only in the facts, in quotes.
import escapeHtml from 'escape-html'
import type { Actor, NoticeDetails, NoticeKind } from '../../core/mail/notices.ts'

/** The label of a fact, and its value. */
type Fact = readonly [label: string, value: string]

/** The content of a mail before layout. */
export interface MailContent {
  subject: string
  /** What happened and what it means, one string per paragraph. */
  happened: readonly string[]
  facts: readonly Fact[]
  /** What to do if the reader did not do it. */
  unexpected: { heading: string; advice: string }
}

/** The content of the mails of some kinds, by their details. */
export type TextsOf<Kinds extends NoticeKind> = {
  readonly [Kind in Kinds]: (details: NoticeDetails[Kind]) => MailContent
}

/** The heading of the advice about an act that only its owner can do. */
export const NOT_YOU = "If this wasn't you"

export interface MailText {
  subject: string
  text: string
  html: string
}

const FOOTER =
  'This mail was sent automatically, and replies are not read. ' +
  'We never ask for your password, a code or a recovery code by mail.'

/** Longer than any name that the API accepts. Longer text from elsewhere is cut. */
const FOREIGN_MAX_LENGTH = 300

/**
 * Returns words that another person has chosen in a form that is safe in a mail: on one line, in quotes that the words
 * can't close, and without invisible characters that change the reading direction or hide text.
 */
export function quoted(foreign: string): string {
  return `"${onOneLine(foreign).replace(/["\p{Pi}\p{Pf}„″＂〝〞]/gu, "'")}"`
}

/** Returns words that another person has chosen on one line, without invisible characters, and not too long. */
export function onOneLine(foreign: string): string {
  const visible = foreign.replace(/[\p{Cc}\p{Cf}\p{Cs}\p{Z}]+/gu, ' ').trim()
  return [...visible].slice(0, FOREIGN_MAX_LENGTH).join('')
}

const WEEKDAYS = ['Sunday', 'Monday', 'Tuesday', 'Wednesday', 'Thursday', 'Friday', 'Saturday']
const MONTHS = [
  ...['January', 'February', 'March', 'April', 'May', 'June', 'July', 'August', 'September'],
  ...['October', 'November', 'December']
]

/** Returns an instant in an unambiguous form: `Monday, 5 January 2026, 09:00 UTC`. Throws for an invalid date. */
export function inWords(instant: Date): string {
  const time = instant.toISOString().slice(11, 16)
  const month = MONTHS[instant.getUTCMonth()]
  const day = `${WEEKDAYS[instant.getUTCDay()]}, ${instant.getUTCDate()} ${month}`
  return `${day} ${instant.getUTCFullYear()}, ${time} UTC`
}

/** Returns the fact that names the actor. The earlier release stored no `actor` with some kinds of mail. */
export function byOf({ by, actor }: Partial<Actor>): Fact {
  if (by === 'operator') return ['Done by', 'the operator']
  const who = by === 'admin' ? 'admin' : 'API key'
  return actor ? [`Done by the ${who}`, quoted(actor)] : ['Done by', `an ${who}`]
}

/** Returns a paragraph about earlier mails that a limit held back, and that this mail stands for; none if there are none. */
export function aboutRepeats(repeats: number, since: Date | null): string[] {
  if (repeats === 0 || since === null) return []
  const times = repeats === 1 ? 'once' : `${repeats} times`
  return [
    `The same happened ${times} before, since ${inWords(since)}. You receive only this mail about it.`
  ]
}

/** Lays out a mail as plain text and as HTML with the same words. */
export function layOut(content: MailContent): MailText {
  return { subject: content.subject, text: asText(content), html: asHtml(content) }
}

// A paragraph is one line, so that mail programs can wrap it to the screen. No line starts or ends in a way that
// format=flowed (RFC 3676) or a mailbox file would change.
function asText({ happened, facts, unexpected }: MailContent): string {
  return [
    ...happened,
    facts.map(([label, value]) => `${label}: ${value}`).join('\n'),
    `${unexpected.heading}\n${unexpected.advice}`,
    FOOTER
  ]
    .join('\n\n')
    .concat('\n')
}

const FONT = 'font-family: Arial, Helvetica, sans-serif; font-size: 16px; line-height: 1.5'

function asHtml({ subject, happened, facts, unexpected }: MailContent): string {
  const paragraphs = happened.map((paragraph) => html`<p>${paragraph}</p>`)
  // <bdi> isolates the value, so that a right-to-left name does not reorder the text around it.
  const rows = facts.map(
    ([label, value]) => html`<tr>
<th scope="row" style="padding: 2px 16px 2px 0; text-align: left; font-weight: normal; color: #555555">${label}:</th>
<td style="padding: 2px 0"><bdi>${value}</bdi></td>
</tr>`
  )
  return html`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>${subject}</title>
</head>
<body style="margin: 0; padding: 24px; background: #ffffff; color: #1a1a1a; ${FONT}">
<div lang="en" dir="ltr" style="max-width: 560px">
<h1 style="font-size: 22px; line-height: 1.3">${subject}</h1>
${paragraphs}
<table style="border-collapse: collapse; margin: 16px 0; ${FONT}">
${rows}
</table>
<h2 style="font-size: 18px; line-height: 1.3">${unexpected.heading}</h2>
<p>${unexpected.advice}</p>
<p style="font-size: 14px; color: #555555">${FOOTER}</p>
</div>
</body>
</html>
`.markup
}

interface Html {
  markup: string
}

/** Returns markup. Escapes every value except markup that this function has returned. */
function html(parts: TemplateStringsArray, ...values: (string | Html | Html[])[]): Html {
  const filled = values.map((value) => {
    if (typeof value === 'string') return escapeHtml(value)
    return [value]
      .flat()
      .map(({ markup }) => markup)
      .join('\n')
  })
  return { markup: String.raw({ raw: parts }, ...filled) }
}
