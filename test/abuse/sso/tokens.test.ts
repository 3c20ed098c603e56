// S18: which ID tokens are accepted. A token with wrong claims causes no request, neither to the provider nor elsewhere.
import { createHmac, randomUUID } from 'node:crypto'
import t from 'tap'
import { createSsoIdentities } from '../../../src/data/sign-in/sso-identities.ts'
import { createTrustedDevices } from '../../../src/data/sign-in/trusted-devices.ts'
import { createVerdicts } from '../../../src/data/sign-in/verdicts.ts'
import { createEnrollments } from '../../../src/data/users/enrollments.ts'
import { ON_SERVER } from '../../support/app.ts'
import { CLIENT_ID, handMade, newKey } from '../../support/identity-provider.ts'
import { isProblem } from '../../support/problems.ts'
import { startSsoApp } from './sso-app.ts'

const sso = await startSsoApp(t)
const { account, ada, adaClaims, bySso, call, clock, createUser, database, elsewhere } = sso
const { eventsOf, isRefused, provider, seconds, ssoAccount, untilKeysMayLoad } = sso

// This sign-in also loads the provider's keys. The next tests expect that no further request is needed.
t.test(
  '200: a token for several clients is accepted if its azp is the account’s client',
  ON_SERVER,
  async (t) => {
    const shared = { aud: ['other', CLIENT_ID], azp: CLIENT_ID }
    const answer = await bySso(await provider.idToken(clock.now(), { ...adaClaims, ...shared }))
    t.equal(answer.json().user?.id, ada.id)
  }
)

const FLAWS: [title: string, claims: () => Record<string, unknown>, why: string][] = [
  ['another issuer', () => ({ iss: elsewhere.url }), 'other_issuer'],
  ['an issuer with a slash at its end', () => ({ iss: `${provider.url}/` }), 'other_issuer'],
  ['another client', () => ({ aud: 'another-client' }), 'other_client'],
  ['another client among several', () => ({ aud: ['one', 'two'] }), 'other_client'],
  ['several clients and no azp', () => ({ aud: [CLIENT_ID, 'other'] }), 'other_client'],
  [
    'several clients and another azp',
    () => ({ aud: [CLIENT_ID, 'other'], azp: 'other' }),
    'other_client'
  ],
  ['expired', () => ({ exp: seconds(0) }), 'expired'],
  ['eleven minutes old', () => ({ iat: seconds(-660) }), 'too_old'],
  ['ten minutes and a second old', () => ({ iat: seconds(-601) }), 'too_old'],
  ['issued in the future', () => ({ iat: seconds(60) }), 'not_yet_valid'],
  ['valid only in the future', () => ({ nbf: seconds(60) }), 'not_yet_valid'],
  ['a nonce that the caller does not expect', () => ({ nonce: 'n-0' }), 'other_nonce'],
  ['a logout token', () => ({ events: {} }), 'other_kind'],
  ['an access token of Okta', () => ({ scp: ['openid'] }), 'other_kind'],
  ['an access token of Auth0', () => ({ scope: 'openid' }), 'other_kind'],
  ['an access token of Keycloak', () => ({ typ: 'Bearer' }), 'other_kind'],
  ['no subject', () => ({ sub: undefined }), 'malformed'],
  ['a subject with NUL', () => ({ sub: 'a\u0000b' }), 'malformed'],
  ['no expiry', () => ({ exp: undefined }), 'malformed'],
  ['an expiry that is text', () => ({ exp: '9999999999' }), 'malformed'],
  ['no issue time', () => ({ iat: undefined }), 'malformed']
]

t.test(
  '401: an ID token with wrong claims is rejected without a request to the provider',
  ON_SERVER,
  async (t) => {
    const requestsBefore = provider.asked.length
    for (const [title, claims, why] of FLAWS) {
      const idToken = await provider.idToken(clock.now(), { ...adaClaims, ...claims() })
      await t.test(title, async (t) => isRefused(t, await bySso(idToken), why))
    }
    const bound = await provider.idToken(clock.now(), { ...adaClaims, nonce: 'right' })
    await isRefused(t, await bySso(bound, { nonce: 'wrong' }), 'other_nonce')
    const unbound = await provider.idToken(clock.now(), adaClaims)
    await isRefused(t, await bySso(unbound, { nonce: 'right' }), 'other_nonce')
    t.equal(provider.asked.length, requestsBefore)
    t.same(elsewhere.asked, [])
  }
)

t.test(
  '401: an e-mail address that the provider has not verified identifies no user',
  ON_SERVER,
  async (t) => {
    const user = await createUser({ account, email: 'unverified@example.com' })
    const unverified = { sub: 'unverified', email: user.email }
    for (const email_verified of [undefined, false, 'false', 1, null]) {
      const idToken = await provider.idToken(clock.now(), { ...unverified, email_verified })
      await isRefused(t, await bySso(idToken), 'no_user')
    }
  }
)

t.test('401: a signature by another key is rejected with every header', ON_SERVER, async (t) => {
  const foreign = await newKey('first')
  const claims = {
    ...adaClaims,
    iss: provider.url,
    aud: CLIENT_ID,
    iat: seconds(0),
    exp: seconds(60)
  }
  const [own] = provider.keys
  const requestsBefore = provider.asked.length
  const jwksAt = `${elsewhere.url}/keys`
  const headers: Record<string, unknown>[] = [
    { jku: jwksAt },
    { x5u: `${elsewhere.url}/certificate` },
    { jwk: foreign.publicJwk },
    { x5c: ['MIIB'] },
    { kid: jwksAt },
    {}
  ]
  for (const header of headers) {
    const idToken = await provider.idToken(clock.now(), adaClaims, { key: foreign, header })
    await isRefused(t, await bySso(idToken), 'signature')
  }
  const critical = await provider.idToken(clock.now(), adaClaims, { header: { typ: 'at+jwt' } })
  await isRefused(t, await bySso(critical), 'malformed')
  const none = handMade({ alg: 'none' }, claims, () => '')
  await isRefused(t, await bySso(none), 'malformed')
  await isRefused(t, await bySso(`${none}AA`), 'malformed')
  for (const secret of [JSON.stringify(own?.publicJwk), own?.publicJwk.x ?? '']) {
    const confused = handMade({ alg: 'HS256', kid: 'first' }, claims, (signed) =>
      createHmac('sha256', secret).update(signed).digest('base64url')
    )
    await isRefused(t, await bySso(confused), 'malformed')
  }
  t.equal(provider.asked.length, requestsBefore)
  t.same(elsewhere.asked, [])
})

t.test(
  '401 · 413: text that is not an ID token is rejected without a request to the provider',
  ON_SERVER,
  async (t) => {
    const requestsBefore = provider.asked.length
    const whole = await provider.idToken(clock.now(), adaClaims)
    const [header, payload, signature] = whole.split('.')
    const garbage = [
      ...['garbage', 'a.b.c', 'e30.e30.AA', '..', `${header}.${payload}`, `${header}.${payload}.`],
      ...[`${whole}.more`, `${header}.${payload}.${signature}=`, ` ${whole}`, `${whole}\u0000`],
      ...[`${header}.bnVsbA.${signature}`, `${header}.W10.${signature}`, 'é.é.é']
    ]
    for (const idToken of garbage) await isRefused(t, await bySso(idToken), 'malformed')
    await isRefused(t, await bySso(whole.slice(0, -8)), 'signature')
    await isRefused(t, await bySso('a'.repeat(60_000)), 'malformed')
    isProblem(t, await bySso('a'.repeat(66_000)), 413, 'body-too-large')
    t.equal(provider.asked.length, requestsBefore)
  }
)

t.test('400: a flag of the client does not replace a token', ON_SERVER, async (t) => {
  const idToken = await provider.idToken(clock.now(), adaClaims)
  for (const flag of [{ sso: true }, { email: ada.email }, { firstFactor: 'sso' }]) {
    isProblem(t, await bySso(idToken, flag), 400, 'invalid-request')
    const body = { account: account.slug, email: ada.email, password: ada.password, ...flag }
    if ('email' in flag) continue
    isProblem(t, await call('POST', '/v1/login', { body }), 400, 'invalid-request')
  }
})

t.test(
  '401: an ID token is accepted once, in all spellings of its signature',
  ON_SERVER,
  async (t) => {
    const idToken = await provider.idToken(clock.now(), adaClaims)
    t.equal((await bySso(idToken)).statusCode, 200)
    await isRefused(t, await bySso(idToken), 'used_or_linked_otherwise')
    const [header, payload, signature = ''] = idToken.split('.')
    const raw = Buffer.from(signature, 'base64url')
    // (r, s) and (r, -s) are both valid ECDSA signatures. base64url leaves four bits of the last character unused.
    const order = 0xffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551n
    const s = BigInt(`0x${raw.subarray(32).toString('hex')}`)
    const negated = (order - s).toString(16).padStart(64, '0')
    const twin = Buffer.concat([raw.subarray(0, 32), Buffer.from(negated, 'hex')])
    const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_'
    const last = alphabet[alphabet.indexOf(signature.slice(-1)) + 1]
    for (const other of [twin.toString('base64url'), `${signature.slice(0, -1)}${last}`]) {
      const again = await bySso(`${header}.${payload}.${other}`)
      await isRefused(t, again, 'used_or_linked_otherwise')
    }
  }
)

t.test(
  '401: an ID token whose client belongs to another account is rejected',
  ON_SERVER,
  async (t) => {
    const other = await ssoAccount('optional', { clientId: 'other-client' })
    await createUser({ account: other, email: ada.email })
    untilKeysMayLoad()
    const idToken = await provider.idToken(clock.now(), adaClaims)
    isProblem(t, await bySso(idToken, { account: other.slug }), 401, 'invalid-sso-token')
  }
)

t.test(
  '401: an ID token is accepted once, even if two accounts have the same provider and client',
  ON_SERVER,
  async (t) => {
    const twin = await ssoAccount('optional')
    await createUser({ account: twin, email: ada.email })
    untilKeysMayLoad()
    const idToken = await provider.idToken(clock.now(), { ...adaClaims, jti: 'shared' })
    const answers = await Promise.all([bySso(idToken), bySso(idToken, { account: twin.slug })])
    t.same(answers.map(({ statusCode }) => statusCode).sort(), [200, 401])
  }
)

t.test('200: a token with two hundred groups is accepted', ON_SERVER, async (t) => {
  untilKeysMayLoad()
  const groups = Array.from({ length: 200 }, () => randomUUID())
  const idToken = await provider.idToken(clock.now(), { ...adaClaims, groups, amr: 'pwd' })
  t.ok(idToken.length > 8192)
  t.equal((await bySso(idToken)).statusCode, 200)
  const text = 'x'.repeat(17_000)
  const body = { account: account.slug, email: ada.email, password: text }
  isProblem(t, await call('POST', '/v1/login', { body }), 413, 'body-too-large')
})

t.test('the audit event of a malformed token names the part', ON_SERVER, async (t) => {
  const critical = await provider.idToken(clock.now(), adaClaims, {
    header: { crit: ['b64'], b64: true }
  })
  await isRefused(t, await bySso(critical), 'malformed')
  const [event] = await eventsOf({ type: 'sign_in.sso', limit: '1' })
  t.equal(event.details.part, 'header.crit')
})

t.test(
  'a used ID token is deleted one day after it expired, and not earlier',
  ON_SERVER,
  async (t) => {
    const { prisma } = database
    const identities = createSsoIdentities(prisma)
    clock.advance({ minutes: 10 })
    const idToken = await provider.idToken(clock.now(), adaClaims)
    t.equal((await bySso(idToken)).statusCode, 200)
    const expiresAt = clock.now().getTime() + 600_000
    const before = await prisma.usedIdToken.count()
    t.ok(before > 0)
    await identities.forgetExpiredIdTokens(new Date(expiresAt + 86_400_000 - 1000))
    t.ok((await prisma.usedIdToken.count()) > 0)
    await identities.forgetExpiredIdTokens(new Date(expiresAt + 86_401_000))
    t.equal(await prisma.usedIdToken.count(), 0)
  }
)

t.test(
  'rows that are not expired by the database’s clock stay, however late it is on a replica',
  ON_SERVER,
  async (t) => {
    const { prisma } = database
    const expiresAt = new Date(Date.now() - 3_000_000)
    const late = new Date(Date.now() + 2 * 86_400_000)
    const hash = new Uint8Array(32).fill(7)
    await prisma.usedIdToken.create({ data: { accountId: account.id, hash, expiresAt } })
    const key = { accountId: account.id, userId: ada.id }
    const jti = randomUUID()
    await prisma.stepToken.create({ data: { ...key, jti, expiresAt } })
    const device = { ...key, id: jti, createdAt: expiresAt, expiresAt }
    await prisma.trustedDevice.create({ data: device })
    const pending = { name: 'x', sealedSecret: 'x', createdAt: expiresAt, expiresAt }
    await prisma.enrollment.create({ data: { ...key, authenticatorId: jti, ...pending } })
    t.equal(await createSsoIdentities(prisma).forgetExpiredIdTokens(late), 0)
    t.equal(await createVerdicts(database).forgetExpiredStepTokens(late), 0)
    t.equal(await createTrustedDevices(prisma).forgetExpired(late), 0)
    t.equal(await createEnrollments(prisma).forgetExpired(late), 0)
  }
)
