import { deepStrictEqual } from 'node:assert/strict'
import fc from 'fast-check'
import t from 'tap'
import {
  judgePassword,
  normalizePassword,
  PASSWORD_LENGTH_MAX,
  PASSWORD_LENGTH_MIN
} from '../../../src/core/passwords/passwords.ts'

const EMAIL = 'ada.lovelace@example.com'
const account = { slug: 'acme-eu', name: 'Acme Europe GmbH', issuerName: 'Roadrunner' }
const rules = { account, issuer: 'https://auth.hosting.example', lengthMin: PASSWORD_LENGTH_MIN }
const judge = (password: string, email = EMAIL) => judgePassword(password, { ...rules, email })
const ACCEPTABLE = { acceptable: true }
const refused = (reason: string) => ({ acceptable: false, reason })

const COMPOSED = 'Ünïcödé-Würd'
const DECOMPOSED = COMPOSED.normalize('NFD')

t.test('a password of 8 to 128 characters is accepted, with any characters', async (t) => {
  t.equal(PASSWORD_LENGTH_MIN, 8)
  t.equal(PASSWORD_LENGTH_MAX, 128)
  const long = 'ab '.repeat(43)
  for (const password of [
    ...[
      'xK4;pq2!',
      'correct horse battery staple',
      '        x',
      '日本語のパスワード',
      '🙈🙉🙊🐵🐒🦍🦧🐶'
    ],
    ...[
      long.slice(0, 128),
      'nodigitsnorcapitals',
      '73915268',
      COMPOSED,
      DECOMPOSED,
      '\0'.repeat(7).concat('a')
    ]
  ]) {
    t.strictSame(judge(password), ACCEPTABLE, password)
  }
  for (const password of ['', 'a', 'xK4;pq2', '🙈🙉🙊🐵🐒🦍🦧']) {
    t.strictSame(judge(password), refused('must have at least 8 characters'), password)
  }
  t.strictSame(judge(long), refused('must have at most 128 characters'))
})

t.test('the length counts code points of the composed form, not units or bytes', async (t) => {
  const sevenDecomposed = 'äöüßéèê'.normalize('NFD')
  t.ok(sevenDecomposed.length > 8)
  t.match(judge(sevenDecomposed), { acceptable: false })
  t.strictSame(judge('äöüßéèêñ'.normalize('NFD')), ACCEPTABLE)
  t.strictSame(judge('🙈🐒'.repeat(64)), ACCEPTABLE, '128 code points in 256 units')
  t.match(judge('🙈🐒'.repeat(64).concat('a')), { acceptable: false })
})

t.test('the e-mail address is rejected in every spelling', async (t) => {
  const reason = refused('must not be the e-mail address')
  for (const password of [EMAIL, EMAIL.toUpperCase(), 'ada.lovelace', 'Ada.Lovelace']) {
    t.strictSame(judge(password), reason, password)
  }
  t.strictSame(judge(EMAIL, EMAIL.toUpperCase()), reason)
  const email = 'zoë.brontë@example.com'
  t.strictSame(judge(email.normalize('NFD'), email.normalize('NFC')), reason)
  t.strictSame(judge('zoë.brontë', email.normalize('NFD')), reason)
})

t.test('one repeated character is rejected', async (t) => {
  const reason = refused('must not be one character repeated')
  for (const one of ['a', '0', ' ', '*', '🙈', 'é', 'e\u0301', '日']) {
    t.strictSame(judge(one.repeat(8)), reason, one)
  }
  t.strictSame(judge('aAaAaAaA'), reason, 'in either case')
  t.strictSame(judge('ababababab'), ACCEPTABLE)
  t.strictSame(judge('aaaaaaab'), ACCEPTABLE)
})

t.test('the passwords that attackers try first are rejected in upper and lower case', async (t) => {
  const reason = refused('is one of the passwords that attackers try first')
  for (const password of [
    '12345678',
    'password',
    'PassWord1',
    'QWERTYUIOP',
    'p@ssw0rd',
    'corvette'
  ]) {
    t.strictSame(judge(password), reason, password)
  }
  t.strictSame(judge('password-of-mine'), ACCEPTABLE)
})

t.test(
  'the head of the lists of leaked passwords is rejected, also in other spellings',
  async (t) => {
    const reason = refused('is one of the passwords that attackers try first')
    for (const password of [
      ...['sunshine', 'princess', 'football', 'iloveyou', 'baseball', 'superman', 'trustno1'],
      ...['password1', '1qaz2wsx', 'jennifer', 'whatever', 'michelle', 'internet', 'corvette'],
      ...['mercedes', 'maverick', 'dolphins', 'startrek', 'victoria', 'chocolate', 'butterfly'],
      ...['liverpool', 'elizabeth', 'alexander', 'metallica', '11111111', '88888888', '12344321'],
      ...['87654321', 'q1w2e3r4', 'zaq12wsx', 'qwerty123', 'asdfghjkl', 'xxxxxxxx'],
      ...['ＰＡＳＳＷＯＲＤ', 'Ｐassword１', 'trustno①'],
      ...['PrInCeSs', 'TRUSTNO1']
    ]) {
      const verdict = judge(password)
      t.equal(verdict.acceptable, false, password)
      if (!/^(.)\1*$/u.test(password.toLowerCase())) t.strictSame(verdict, reason, password)
    }
  }
)

t.test(
  'names of the user, the account and the service are rejected, also with digits',
  async (t) => {
    const reason = refused('must be more than a name of the user, the account or the service')
    for (const password of [
      ...['ada.lovelace1', 'Ada-Lovelace', 'Lovelace1815', '1815lovelace!', 'ADALOVELACE'],
      ...['acme-eu2026', 'acme europe gmbh', 'Acme2026', 'Europe!2026'],
      ...['Roadrunner#1', 'twostep1', 'Two-Step 2026', 'hosting2026', 'example.com', 'example1']
    ]) {
      t.strictSame(judge(password), reason, password)
    }
    for (const password of [
      ...['acme loves roadrunner', 'lovelace and babbage', 'twostep-by-step', 'com12345!'],
      ...['ada18151210', 'a.b.c.d.e.f', '9384 7261 0938 acme 7361 2938']
    ]) {
      t.strictSame(judge(password), ACCEPTABLE, password)
    }
    const hindi = { slug: 'acme', name: 'कमककमर', issuerName: null }
    t.strictSame(
      judgePassword('काम का कमरा', { ...rules, email: EMAIL, account: hindi }),
      ACCEPTABLE
    )
    const empty = { slug: '42', name: '42', issuerName: null }
    t.strictSame(
      judgePassword('7391526804', { ...rules, email: EMAIL, account: empty }),
      ACCEPTABLE
    )
  }
)

t.test('the minimum length can be that of a password which is the only factor', async (t) => {
  const strict = (password: string) =>
    judgePassword(password, { ...rules, email: EMAIL, lengthMin: 15 })
  t.strictSame(strict('fourteen chars'), refused('must have at least 15 characters'))
  t.strictSame(strict('fifteen letters'), ACCEPTABLE)
})

t.test('property: the reason never contains the password', async () => {
  fc.assert(
    fc.property(fc.string({ maxLength: 200 }), (password) => {
      const verdict = judge(`#${password}`)
      if (!verdict.acceptable) deepStrictEqual(verdict.reason.includes(`#${password}`), false)
    })
  )
})

t.test('composed and decomposed spellings are the same password', async (t) => {
  t.not(COMPOSED, DECOMPOSED)
  t.equal(normalizePassword(DECOMPOSED), COMPOSED)
  t.equal(normalizePassword('ﬁ²Å'), 'ﬁ²Å', 'compatibility forms stay: NFC, not NFKC')
  t.equal(normalizePassword(' A '), ' A ', 'not trimmed, and not in lower case')
  const strings = fc.string({ unit: 'grapheme' })
  fc.assert(
    fc.property(strings, (text) => {
      deepStrictEqual(normalizePassword(text.normalize('NFD')), normalizePassword(text))
      deepStrictEqual(judge(text.normalize('NFD')), judge(text))
    })
  )
})
