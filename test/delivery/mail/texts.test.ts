// The texts of mails: the facts and the advice are there, and a hostile name can't change a sentence.
import t, { type Test } from 'tap'
import type { NoticeDetails, NoticeKind } from '../../../src/core/mail/notices.ts'
import type { Support } from '../../../src/core/support.ts'
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

/** The sentence or the fact in which a mail states a detail that is no fact of its own. */
const SAID: Partial<Record<NoticeKind, string>> = {
  two_factor_reset: 'An admin of your account has reset',
  two_factor_required: 'Sunday, 1 March 2026, 00:00 UTC',
  two_factor_required_of_user: 'An admin of your account requires',
  two_factor_requirement_withdrawn: 'An admin of your account no longer',
  signed_out: 'Your trusted devices are no longer trusted'
}

const INVISIBLE = /[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/u

function write<Kind extends NoticeKind>(
  kind: Kind,
  given: {
    details?: NoticeDetails[Kind]
    accountName?: string
    address?: string | null
    support?: Support | null
  } = {}
): MailText {
  const { details = DETAILS[kind], accountName: name = 'Acme', support = null } = given
  const { address = '203.0.113.7' } = given
  return writeMail({ kind, details, occurredAt: AT, address }, { name, support })
}

/** Returns the text that a reader of the HTML sees. */
function shown(html: string): string {
  const body = html.replace(/^.*<body[^>]*>/s, '').replace(/<[^>]*>/g, ' ')
  const entities: Record<string, string> = { lt: '<', gt: '>', quot: '"', '#39': "'", amp: '&' }
  return body.replace(/&(#?\w+);/g, (_, name) => entities[name] ?? `?${name}?`).replace(/\s+/g, ' ')
}

/** The details whose values the service itself has chosen. */
const OUR_DETAILS = ['by', 'role', 'how']

const isInstant = (value: unknown) => typeof value === 'string' && /^\d{4}-\d\d-\d\dT/.test(value)

/** Returns whether another person has chosen the words of a detail. */
const isForeign = (name: string, value: unknown): value is string =>
  typeof value === 'string' && !isInstant(value) && !OUR_DETAILS.includes(name)

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

t.test('a mail names the contact of the support, if there is one', async (t) => {
  const url = 'https://acme.example/help'
  const email = 'help@acme.example'
  says(t, write('password_changed', { support: { url, email } }), `Support: ${email} or ${url}`)
  says(t, write('password_changed', { support: { url, email: null } }), `Support: ${url}`)
  t.notMatch(write('password_changed', { support: { url, email } }).html, /<a\b/, 'as text')
  t.notMatch(write('password_changed').text, 'Support')
})

for (const kind of KINDS) {
  t.test(`${kind}: says what happened, where, when and what to do`, async (t) => {
    const mail = write(kind)
    says(t, mail, 'Account: "Acme"', 'When: Monday, 5 January 2026, 09:07 UTC')
    says(t, mail, 'IP address: 203.0.113.7')
    says(t, mail, /\n?If (this|you)[^\n]*(wasn't you|didn't expect|didn't ask)/)
    says(
      t,
      mail,
      /(an admin of (your|the) account|other admins|support|deleted immediately|systems)/
    )
    const said = SAID[kind]
    if (said) says(t, mail, said)
    for (const [name, value] of Object.entries(DETAILS[kind])) {
      if (isInstant(value)) says(t, mail, 'Sunday, 1 March 2026, 00:00 UTC')
      else if (typeof value === 'number') says(t, mail, `: ${value}`)
      else if (isForeign(name, value)) says(t, mail, `: "${value}"`)
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
        Object.entries(DETAILS[kind]).map(([name, value]) => [
          name,
          isForeign(name, value) ? hostile : value
        ])
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
      says(t, write(kind), /your next sign-in with your password leads you through a new set-up/)
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
    says(t, write('codes_disabled'), 'Someone who knows your password has entered wrong codes.')
    const afterSso = { ...DETAILS.codes_disabled, firstFactor: 'sso' } as const
    says(
      t,
      write('codes_disabled', { details: afterSso }),
      'Someone who can sign in as you at your identity provider has entered wrong codes.'
    )
    says(
      t,
      write('codes_disabled'),
      /Sign in with a recovery code to switch them on again, or ask an admin .* to reset/
    )
  }
)

t.test('a change of single sign-on names the actor, also in a mail of release 0.1', async (t) => {
  says(t, write('sso_changed'), 'Done by the API key: "abcdefghijkl"')
  const by = { by: 'admin', actor: 'bob@example.com' } as const
  says(t, write('sso_changed', { details: { ...DETAILS.sso_changed, ...by } }), 'bob@example.com')
  const { actor: _actor, ...early } = DETAILS.sso_changed
  says(t, write('sso_changed', { details: early as typeof DETAILS.sso_changed }), 'Done by: an API')
})

t.test('few recovery codes left: the mail asks to make new ones', async (t) => {
  const soon = /Make new recovery codes soon/
  t.notMatch(write('recovery_code_used', { details: { remaining: 4 } }).text, soon)
  says(t, write('recovery_code_used', { details: { remaining: 3 } }), soon)
})

t.test('mails to admins name who acted and what has changed', async (t) => {
  says(t, write('admin_added'), 'Done by the admin: "bob@example.com"')
  says(t, write('api_key_created'), 'Done by the API key: "abcdefghijkl"', 'It can: users:read')
  says(t, write('api_keys_revoked'), 'Names: "Roster", "Sign-in"')
  says(t, write('policy_changed'), 'twoFactor: required (previously optional)')
  says(t, write('account_changed'), 'Changed: name, supportEmail', 'Done by: the operator')
  const lifted = { ...DETAILS.mandate_set, from: null, reason: null }
  says(t, write('mandate_set', { details: lifted }), /no longer requires/)
  for (const [how, text] of [
    ['demoted', 'the role was taken away'],
    ['disabled', 'disabled'],
    ['deleted', 'deleted']
  ] as const) {
    says(t, write('admin_removed', { details: { ...DETAILS.admin_removed, how } }), `How: ${text}`)
  }
  const names = HOSTILE.map((name) => `${name}`)
  const { text } = write('api_keys_revoked', { details: { ...DETAILS.api_keys_revoked, names } })
  t.equal(text.split('\n').length, write('api_keys_revoked').text.split('\n').length)
})

t.test('a recovery code that made a device trusted says so', async (t) => {
  const details = { remaining: 4, trustedUntil: '2026-03-01T00:00:00.000Z' }
  const until = 'Device trusted until: Sunday, 1 March 2026, 00:00 UTC'
  says(t, write('recovery_code_used', { details }), until)
})

t.test('throws: a kind that only another version knows', async (t) => {
  for (const kind of ['teleported', 'toString', '__proto__']) {
    t.throws(() => write(kind as never, { details: {} as never }), { message: /no text for mails/ })
  }
})
