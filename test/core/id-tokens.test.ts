// OpenID Connect Core §3.1.3.7, as a function of claims.
import fc from 'fast-check'
import t from 'tap'
import {
  CLOCK_TOLERANCE_SECONDS,
  ID_TOKEN_AGE_MAX_SECONDS,
  judgeIdToken,
  readIdToken
} from '../../src/core/id-tokens.ts'
import { handMade } from '../support/identity-provider.ts'

const NOW = new Date('2026-01-05T09:00:00.000Z')
const now = NOW.getTime() / 1000
const EXPECTED = { issuer: 'https://login.acme.example', clientId: 'twostep', nonce: null }
const RIGHT = { iss: EXPECTED.issuer, aud: EXPECTED.clientId, sub: 'ada', iat: now, exp: now + 60 }

const tokenOf = (payload: object, header: object = { alg: 'ES256' }) =>
  handMade(header, payload, () => 'c2ln')

/** Returns the verdict on the right claims plus some additional or different ones. */
function verdictOn(claims: object, expected: object = {}) {
  const idToken = readIdToken(tokenOf({ ...RIGHT, ...claims }))
  return idToken && judgeIdToken(idToken.claims, { ...EXPECTED, ...expected }, NOW)
}

const identityOf = (claims: object) => {
  const verdict = verdictOn(claims)
  return verdict?.accepted ? verdict.identity : null
}

t.test(
  'only algorithms that need the provider’s private key and types of ID tokens are read',
  async (t) => {
    for (const alg of ['RS256', 'PS384', 'ES512', 'EdDSA', 'Ed25519']) {
      t.ok(readIdToken(tokenOf(RIGHT, { alg })), alg)
    }
    for (const alg of ['none', 'None', 'HS256', 'HS512', 'dir', '', null, undefined, ['ES256']]) {
      t.equal(readIdToken(tokenOf(RIGHT, { alg })), null, String(alg))
    }
    for (const typ of ['JWT', 'jwt', 'application/jwt']) {
      t.ok(readIdToken(tokenOf(RIGHT, { alg: 'ES256', typ })), typ)
    }
    for (const typ of ['at+jwt', 'logout+jwt', 'step+jwt', '', 7, null]) {
      t.equal(readIdToken(tokenOf(RIGHT, { alg: 'ES256', typ })), null, String(typ))
    }
  }
)

t.test('the hash covers header and payload, but not the signature', async (t) => {
  const hashOf = (token: string) => Buffer.from(readIdToken(token)?.hash ?? []).toString('hex')
  const [header, payload] = tokenOf(RIGHT).split('.')
  t.equal(hashOf(`${header}.${payload}.AAAA`), hashOf(`${header}.${payload}.BBBB`))
  t.not(hashOf(tokenOf(RIGHT)), hashOf(tokenOf({ ...RIGHT, jti: 1 })))
})

t.test('the time limits are exact to the second', async (t) => {
  const iat = (at: number) => verdictOn({ iat: at, exp: now + 3600 })?.accepted
  t.equal(iat(now - ID_TOKEN_AGE_MAX_SECONDS), true)
  t.equal(iat(now - ID_TOKEN_AGE_MAX_SECONDS - 1), false)
  t.equal(iat(now + CLOCK_TOLERANCE_SECONDS), true)
  t.equal(iat(now + CLOCK_TOLERANCE_SECONDS + 1), false)
  t.equal(verdictOn({ exp: now + 1 })?.accepted, true)
  t.equal(verdictOn({ exp: now })?.accepted, false)
  t.equal(verdictOn({ nbf: now + CLOCK_TOLERANCE_SECONDS + 1 })?.accepted, false)
  t.equal(verdictOn({ exp: 1e300 }), null)
})

t.test('the nonce must equal the caller’s, or be absent on both sides', async (t) => {
  t.equal(verdictOn({ nonce: 'n' }, { nonce: 'n' })?.accepted, true)
  for (const [said, asked] of [
    ['n', null],
    [undefined, 'n'],
    ['n', 'N'],
    ['', null]
  ] as const) {
    const verdict = verdictOn({ nonce: said }, { nonce: asked })
    t.same(verdict, { accepted: false, reason: 'other_nonce' })
  }
})

t.test(
  'the identity contains the verified e-mail address, the valid methods and the expiry',
  async (t) => {
    const email = 'Ada@Example.com'
    t.equal(identityOf({ email, email_verified: true })?.verifiedEmail, 'ada@example.com')
    for (const email_verified of ['true', 1, false, null, undefined]) {
      t.equal(identityOf({ email, email_verified })?.verifiedEmail, null)
    }
    for (const other of ['', 7, 'a\u0000@b', 'a'.repeat(255), ['a@b'], undefined]) {
      t.equal(identityOf({ email: other, email_verified: true })?.verifiedEmail, null)
    }
    const amr = ['mfa', 'mfa', 'sso', '', 'two words', 'é', 7, null, ...'abcdefghijkl']
    t.same(identityOf({ amr })?.authentication.amr, ['mfa', 'sso', ...'abcdefg'])
    t.same(identityOf({ exp: now + 9e9 })?.expiresAt, new Date((now + 300) * 1000))
    t.same(identityOf({ exp: now + 5 })?.expiresAt, new Date((now + 5) * 1000))
  }
)

t.test('property: a sign-in time is never in the future', async () => {
  const instants = fc.integer({ min: 0, max: now + 100_000 })
  fc.assert(
    fc.property(instants, fc.integer({ min: -300, max: 30 }), (auth_time, age) => {
      const iat = now + age
      const at = identityOf({ auth_time, iat, exp: now + 60 })?.authentication.authenticatedAt
      return at !== undefined && at.getTime() / 1000 === Math.min(auth_time, iat, now)
    })
  )
})

t.test('property: any text is read or rejected, without an error', async () => {
  const parts = fc.oneof(fc.string(), fc.base64String(), fc.json().map(base64url))
  const texts = fc.oneof(
    fc.string(),
    fc.array(parts, { maxLength: 5 }).map((all) => all.join('.'))
  )
  fc.assert(fc.property(texts, (text) => readIdToken(text) === null))
  const payloads = fc.dictionary(
    fc.constantFrom(...Object.keys(RIGHT), 'azp', 'nonce'),
    fc.anything()
  )
  fc.assert(
    fc.property(payloads, (payload) => {
      const verdict = verdictOn(JSON.parse(JSON.stringify(payload) ?? '{}'))
      return verdict === null || typeof verdict.accepted === 'boolean'
    })
  )
})

function base64url(text: string): string {
  return Buffer.from(text).toString('base64url')
}
