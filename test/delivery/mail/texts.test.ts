// The texts of mails: the facts and the advice are there, and a hostile name can't change a sentence.
import t, { type Test } from 'tap'
import type { NoticeDetails, NoticeKind } from '../../../src/core/mail/notices.ts'
import type { MailText } from '../../../src/delivery/mail/layout.ts'
import { writeMail } from '../../../src/delivery/mail/texts.ts'
import { DETAILS, KINDS } from '../../support/notices.ts'

const AT = new Date('2026-01-05T09:07:59.999Z')

const HOSTILE = [
  '"><script>alert(1)</script>',
  "'><img src=x onerror=alert(1)>&amp;",
  'x\r\nBcc: x@y',
  "x\r\n\r\nIf this wasn't you\nCall 555-0100 and tell them your code.",
  'Phone". Your account is closed. "Call 555-0100',
  'Phone”. Your account is closed. “Call 555-0100',
  'fdp.exe\u202Egnp \u2066x\u2069 \u200Fy',
  'a\u0000b\u0007c\u2028d\u2029e\u0085f\ud800g',
  '$& $1 %s \\n {{x}}',
  '<!-- ]]> --></td></table></html>',
  'Größe 名前 هاتف ☎️',
  'x'.repeat(5000)
]

const INVISIBLE = /[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/u

function write<Kind extends NoticeKind>(
  kind: Kind,
  given: { details?: NoticeDetails[Kind]; accountName?: string; address?: string | null } = {}
): MailText {
  const { details = DETAILS[kind], accountName = 'Acme', address = '203.0.113.7' } = given
  return writeMail({ kind, details, occurredAt: AT, address }, accountName)
}

/** Returns the text that a reader of the HTML sees. */
function shown(html: string): string {
  const body = html.replace(/^.*<body[^>]*>/s, '').replace(/<[^>]*>/g, ' ')
  const entities: Record<string, string> = { lt: '<', gt: '>', quot: '"', '#39': "'", amp: '&' }
  return body.replace(/&(#?\w+);/g, (_, name) => entities[name] ?? `?${name}?`).replace(/\s+/g, ' ')
}

/** Returns the tags in their order. A text changes them only if it is read as markup. */
const tagsOf = (html: string) => html.match(/<[^>]*>/g)

/** Asserts that both forms of a mail contain the facts. */
function says(t: Test, { text, html }: MailText, ...facts: (string | RegExp)[]): void {
  for (const fact of facts) {
    t.match(text, fact)
    t.match(shown(html), fact)
  }
}

t.test('every kind has its own mail', async (t) => {
  const subjects = KINDS.map((kind) => write(kind).subject)
  t.equal(new Set(subjects).size, KINDS.length)
  for (const subject of subjects) t.match(subject, /^[A-Z][ -~]{10,59}$/, 'plain, and short')
})

for (const kind of KINDS) {
  t.test(`${kind}: says what happened, where, when and what to do`, async (t) => {
    const mail = write(kind)
    says(t, mail, 'Account: "Acme"', 'When: Monday, 5 January 2026, 09:07 UTC')
    says(t, mail, 'IP address: 203.0.113.7')
    says(t, mail, /\n?If (this|you)[^\n]*(wasn't you|didn't expect|didn't ask)/)
    says(t, mail, /(an admin of your account|Tell support)/)
    for (const [name, value] of Object.entries(DETAILS[kind])) {
      if (kind === 'two_factor_reset') says(t, mail, 'An admin of your account has reset')
      else if (kind === 'two_factor_required') says(t, mail, 'Sunday, 1 March 2026, 00:00 UTC')
      else if (name === 'by') says(t, mail, 'The system of your account has changed')
      else says(t, mail, typeof value === 'number' ? `: ${value}` : `: "${value}"`)
    }
    const withoutAddress = write(kind, { address: null })
    t.notMatch(withoutAddress.text + withoutAddress.html, /IP address/)
    t.notMatch(write(kind, { address: '<b>unknown</b>' }).html, /IP address|<b>/)
  })

  t.test(
    `${kind}: plain text and HTML contain the same words, each in its correct form`,
    async (t) => {
      const { subject, text, html } = write(kind)
      for (const line of text.split('\n')) {
        t.notMatch(line, /^( |>|From )| $/, 'RFC 3676 and mailbox files leave the line as it is')
      }
      t.equal(shown(html).trim(), `${subject} ${text}`.replace(/\s+/g, ' ').trim())
      t.match(text, /[^\n]\n$/)
      t.match(html, /^<!doctype html>\n<html lang="en">\n/)
      t.ok(html.includes(`<title>${subject.replace("'", '&#39;')}</title>`))
      t.notMatch(html, /<(script|style|link|img|a|form|iframe)\b|url\(|\bon\w+=/i, 'loads nothing')
      t.notMatch(
        text + html,
        /https?:|www\.|undefined|null|\[object|NaN/,
        'no links, and nothing missing'
      )
    }
  )

  t.test(`${kind}: a hostile name stays in quotes and on its line`, async (t) => {
    const benign = write(kind)
    for (const hostile of HOSTILE) {
      const details = Object.fromEntries(
        Object.entries(DETAILS[kind]).map(([name, value]) => {
          const isForeign =
            typeof value === 'string' && name !== 'by' && kind !== 'two_factor_required'
          return [name, isForeign ? hostile : value]
        })
      )
      const mail = write(kind, { details: details as never, accountName: hostile })
      t.equal(mail.subject, benign.subject, 'the subject contains no foreign text')
      t.same(tagsOf(mail.html), tagsOf(benign.html), 'the markup is the same')
      const [lines, ours] = [mail.text.split('\n'), benign.text.split('\n')]
      t.equal(lines.length, ours.length, 'the number of lines is the same')
      for (const [index, line] of lines.entries()) {
        if (line === ours[index]) continue
        t.match(line, /^[A-Z][A-Za-z ]+: "[^"]{1,300}"$/, 'only a quoted fact differs')
      }
      t.notMatch(mail.text.replaceAll('\n', ''), INVISIBLE)
      t.notMatch(mail.html.replaceAll('\n', ''), INVISIBLE)
    }
    says(t, write(kind, { accountName: 'Größe 名前 هاتف ☎️' }), 'Account: "Größe 名前 هاتف ☎️"')
  })

  t.test(`${kind}: details that the text does not use are left out`, async (t) => {
    const details = { ...DETAILS[kind], secret: 'JBSWY3DPEHPK3PXP', code: '492039' }
    t.same(write(kind, { details: details as never }), write(kind))
  })
}

t.test(
  'a reset warns that someone with the password could set up an authenticator first',
  async (t) => {
    for (const kind of ['two_factor_reset', 'support_reset', 'support_reset_of_user'] as const) {
      says(t, write(kind), /could now set up an authenticator app before (you do|the user does)/)
    }
    for (const kind of ['two_factor_reset', 'support_reset'] as const) {
      says(
        t,
        write(kind),
        /requires two-step sign-in, your next sign-in leads you through a new set-up/
      )
      says(t, write(kind), /Tell an admin of your account immediately, and change your password/)
    }
    says(
      t,
      write('two_factor_reset', { details: { by: 'api_key' } }),
      'The system of your account has'
    )
    says(t, write('support_reset'), 'Ticket: "CASE-4711"')
    says(t, write('support_reset_of_user'), 'Ticket: "CASE-4711"', 'User: "ada@example.com"')
  }
)

t.test('a requirement names its start and explains the set-up', async (t) => {
  says(t, write('two_factor_required', { details: { from: null } }), 'Required from: now on')
  says(t, write('two_factor_required'), /authenticator app/, /QR code/, /recovery codes/)
  t.throws(() => write('two_factor_required', { details: { from: 'soon' } }), RangeError)
})

t.test(
  'switched-off codes: the mail says who may have caused it, and how to sign in again',
  async (t) => {
    says(t, write('codes_disabled'), 'Someone who knows your password has entered wrong codes')
    says(
      t,
      write('codes_disabled'),
      /Sign in with a recovery code to switch them on again, or ask an admin .* to reset/
    )
  }
)

t.test('few recovery codes left: the mail asks to make new ones', async (t) => {
  const soon = /Make new recovery codes soon/
  t.notMatch(write('recovery_code_used', { details: { remaining: 4 } }).text, soon)
  says(t, write('recovery_code_used', { details: { remaining: 3 } }), soon)
})

t.test('throws: a kind that only another version knows', async (t) => {
  for (const kind of ['teleported', 'toString', '__proto__']) {
    t.throws(() => write(kind as never, { details: {} as never }), { message: /no text for mails/ })
  }
})
