// What the mails say: the facts, what to do, and nothing that somebody else could make them say.
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

/** What a reader sees of HTML. */
function shown(html: string): string {
  const body = html.replace(/^.*<body[^>]*>/s, '').replace(/<[^>]*>/g, ' ')
  const entities: Record<string, string> = { lt: '<', gt: '>', quot: '"', '#39': "'", amp: '&' }
  return body.replace(/&(#?\w+);/g, (_, name) => entities[name] ?? `?${name}?`).replace(/\s+/g, ' ')
}

/** The names of the elements, in their order: what a text can't change unless it is taken for markup. */
const tagsOf = (html: string) => html.match(/<[^>]*>/g)

/** Checks a fact in both forms. */
function says(t: Test, { text, html }: MailText, ...facts: (string | RegExp)[]): void {
  for (const fact of facts) {
    t.match(text, fact)
    t.match(shown(html), fact)
  }
}

t.test('every kind has a mail of its own', async (t) => {
  const subjects = KINDS.map((kind) => write(kind).subject)
  t.equal(new Set(subjects).size, KINDS.length)
  for (const subject of subjects) t.match(subject, /^[A-Z][ -~]{10,59}$/, 'plain, and short')
})

for (const kind of KINDS) {
  t.test(`${kind}: says what happened, where, when and what to do`, async (t) => {
    const mail = write(kind)
    says(t, mail, 'Account: "Acme"', 'When: Monday, 5 January 2026, 09:07 UTC')
    says(t, mail, 'IP address: 203.0.113.7')
    says(t, mail, /\n?If (this|it|you|nobody)[^\n]*(wasn't you|didn't expect|asked)/)
    says(t, mail, /(an admin of your account|Tell support)/)
    for (const value of Object.values(DETAILS[kind])) {
      if (kind === 'two_factor_reset') says(t, mail, 'An admin of your account has reset')
      else if (kind === 'two_factor_required') says(t, mail, 'Sunday, 1 March 2026, 00:00 UTC')
      else says(t, mail, typeof value === 'number' ? `: ${value}` : `: "${value}"`)
    }
    const withoutAddress = write(kind, { address: null })
    t.notMatch(withoutAddress.text + withoutAddress.html, /IP address/)
    t.notMatch(write(kind, { address: '<b>unknown</b>' }).html, /IP address|<b>/)
  })

  t.test(`${kind}: both forms say the same, as plain text and as HTML should`, async (t) => {
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
  })

  t.test(`${kind}: a hostile name is a name, in quotes and on its line`, async (t) => {
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
      t.equal(mail.subject, benign.subject, 'the subject is ours alone')
      t.same(tagsOf(mail.html), tagsOf(benign.html), 'no more markup')
      const [lines, ours] = [mail.text.split('\n'), benign.text.split('\n')]
      t.equal(lines.length, ours.length, 'no more lines')
      for (const [index, line] of lines.entries()) {
        if (line === ours[index]) continue
        t.match(line, /^[A-Z][A-Za-z ]+: "[^"]{1,300}"$/, 'nothing but a quoted fact differs')
      }
      t.notMatch(mail.text.replaceAll('\n', ''), INVISIBLE)
      t.notMatch(mail.html.replaceAll('\n', ''), INVISIBLE)
    }
    says(t, write(kind, { accountName: 'Größe 名前 هاتف ☎️' }), 'Account: "Größe 名前 هاتف ☎️"')
  })

  t.test(`${kind}: details that no text knows are not told`, async (t) => {
    const details = { ...DETAILS[kind], secret: 'JBSWY3DPEHPK3PXP', code: '492039' }
    t.same(write(kind, { details: details as never }), write(kind))
  })
}

t.test('a reset says what whoever has the password could do now', async (t) => {
  for (const kind of ['two_factor_reset', 'support_reset', 'support_reset_of_user'] as const) {
    says(t, write(kind), /could now set up an authenticator before (you do|the user does)/)
  }
  for (const kind of ['two_factor_reset', 'support_reset'] as const) {
    says(
      t,
      write(kind),
      /requires two-step sign-in, your next sign-in leads through a fresh set-up/
    )
    says(t, write(kind), /Tell an admin of your account at once, and change your password/)
  }
  says(
    t,
    write('two_factor_reset', { details: { by: 'api_key' } }),
    'The system of your account has'
  )
  says(t, write('support_reset'), 'Ticket: "CASE-4711"')
  says(t, write('support_reset_of_user'), 'Ticket: "CASE-4711"', 'User: "ada@example.com"')
})

t.test('a duty says from when, and how to set up', async (t) => {
  says(t, write('two_factor_required', { details: { from: null } }), 'Required from: now on')
  says(t, write('two_factor_required'), /authenticator app/, /QR code/, /recovery codes/)
  t.throws(() => write('two_factor_required', { details: { from: 'soon' } }), RangeError)
})

t.test('switched-off codes say who could do that, and what opens them again', async (t) => {
  says(t, write('codes_disabled'), 'Somebody who knows your password has entered wrong codes')
  says(t, write('codes_disabled'), 'A recovery code opens your sign-in again, and so does a reset')
})

t.test('few recovery codes left: make new ones', async (t) => {
  const soon = /Make new recovery codes soon/
  t.notMatch(write('recovery_code_used', { details: { remaining: 4 } }).text, soon)
  says(t, write('recovery_code_used', { details: { remaining: 3 } }), soon)
})

t.test('a kind that only another version knows is an error', async (t) => {
  for (const kind of ['teleported', 'toString', '__proto__']) {
    t.throws(() => write(kind as never, { details: {} as never }), { message: /no text for mails/ })
  }
})
