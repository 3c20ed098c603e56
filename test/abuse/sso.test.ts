// S18: single sign-on is a fact that we have verified, or a back end's own word; never a flag, and never another's token.
import { createHmac } from 'node:crypto'
import { once } from 'node:events'
import { type AddressInfo, createServer } from 'node:net'
import t, { type Test } from 'tap'
import { signEvent } from '../../src/core/audit/events.ts'
import { createSsoIdentities } from '../../src/data/sign-in/sso-identities.ts'
import {
  type Answer,
  ON_SERVER,
  startApp,
  type TestAccount,
  type TestUser
} from '../support/app.ts'
import { auditEvent } from '../support/audit-events.ts'
import {
  CLIENT_ID,
  handMade,
  newKey,
  openHttpServer,
  openIdentityProvider,
  type ProviderKey,
  sendJson
} from '../support/identity-provider.ts'
import { isProblem, tellTales } from '../support/problems.ts'
import { MAIL_WAITS, mailsTo } from '../support/records.ts'

const provider = await openIdentityProvider(t)
/** Another one, that nobody's policy names: whatever it is asked, a token has made us ask. */
const elsewhere = await openHttpServer(t, (_request, response) => sendJson(response, { keys: [] }))
const service = await startApp(t, { env: MAIL_WAITS })
const { assertedToken, call, changePolicy, clock, createAccount, createUser } = service
const { enrolledUser, login, verify } = service

const account = await ssoAccount('optional')
const ada = await createUser({ account, email: 'ada@example.com' })
/** What the provider says of her. */
const ADA = { sub: 'ada-at-provider', email: 'Ada@Example.com', email_verified: true }
const seconds = (offset: number) => Math.floor(clock.now().getTime() / 1000) + offset

/** As long as no key has to be asked for, nobody is. */
const askedForKeys = () => provider.asked.filter((path) => path === '/keys').length
/** So that the next unknown key is asked for. */
const untilAskedAgain = () => clock.advance({ seconds: 10 })

t.test(
  '200: a verified ID token signs in without a code, for what the provider did',
  ON_SERVER,
  async (t) => {
    const user = await enrolledUser({ account, email: 'grace@example.com' })
    const claims = { sub: 'grace', email: user.email, email_verified: true, nonce: 'n-1' }
    const told = { auth_time: seconds(-3600), amr: ['pwd', 'hwk', 7, 'sso', 'x'.repeat(65)] }
    const idToken = await provider.idToken(clock.now(), { ...claims, ...told })
    const answer = await bySso(idToken, { nonce: 'n-1' })
    t.match(answer.json(), {
      status: 'authenticated',
      reason: 'sso_supersedes',
      user: { id: user.id, accountId: account.id, email: user.email }
    })
    t.match(claimsOf(answer), {
      amr: ['pwd', 'hwk', 'sso'],
      acr: 'urn:twostep:acr:2',
      auth_time: seconds(-3600)
    })
    const token = answer.json().accessToken
    const stale = await call('POST', '/v1/users/me/recovery-codes', { as: token })
    isProblem(t, stale, 401, 'step-up-required')
    const events = await eventsOf({ userId: user.id, type: 'sign_in.sso' })
    t.match(events, [
      {
        outcome: 'succeeded',
        actor: { kind: 'user', id: user.id, credential: 'id_token' },
        target: { kind: 'user', id: user.id },
        details: { next: 'authenticated', why: 'sso_supersedes', issuer: provider.url }
      }
    ])
  }
)

t.test(
  '200: a sign-in just now counts as fresh, and none is of the future',
  ON_SERVER,
  async (t) => {
    const user = await enrolledUser({ account, email: 'fresh@example.com' })
    const claims = { sub: 'fresh', email: user.email, email_verified: true }
    const ahead = { iat: seconds(20), exp: seconds(60), auth_time: seconds(25) }
    const answer = await bySso(await provider.idToken(clock.now(), { ...claims, ...ahead }))
    t.match(claimsOf(answer), { amr: ['sso'], auth_time: seconds(0) })
    const as = answer.json().accessToken
    t.equal((await call('POST', '/v1/users/me/recovery-codes', { as })).statusCode, 200)
    const issuedBefore = { ...claims, iat: seconds(-120), auth_time: seconds(-60) }
    const earlier = await bySso(await provider.idToken(clock.now(), issuedBefore))
    t.equal(claimsOf(earlier)['auth_time'], seconds(-120), 'nor after the token itself')
    const silent = await bySso(await provider.idToken(clock.now(), claims))
    t.match(claimsOf(silent), { acr: 'urn:twostep:acr:2', auth_time: 0 })
    const unproven = await call('POST', '/v1/users/me/recovery-codes', {
      as: silent.json().accessToken
    })
    isProblem(t, unproven, 401, 'step-up-required')
  }
)

t.test(
  '200: the e-mail tells who it is once; from then on the subject does',
  ON_SERVER,
  async (t) => {
    const user = await createUser({ account, email: 'linus@example.com' })
    const first = { sub: 'linus', email: user.email, email_verified: true }
    t.equal((await bySso(await provider.idToken(clock.now(), first))).statusCode, 200)
    const moved = { sub: 'linus', email: ada.email, email_verified: true }
    const answer = await bySso(await provider.idToken(clock.now(), moved))
    t.equal(answer.json().user?.id, user.id)
    const silent = await bySso(await provider.idToken(clock.now(), { sub: 'linus' }))
    t.equal(silent.json().user?.id, user.id, 'an e-mail is not needed any more')
  }
)

t.test('401: another subject does not take a linked user over', ON_SERVER, async (t) => {
  const user = await createUser({ account, email: 'margaret@example.com' })
  const claims = { email: user.email, email_verified: true }
  const own = await provider.idToken(clock.now(), { ...claims, sub: 'margaret' })
  t.equal((await bySso(own)).statusCode, 200)
  const other = await provider.idToken(clock.now(), { ...claims, sub: 'not-margaret' })
  await isRefused(t, await bySso(other), 'used_or_linked_otherwise')
})

t.test('200: a subject is one client’s; the next client links anew', ON_SERVER, async (t) => {
  const moving = await ssoAccount('optional')
  const user = await createUser({ account: moving, email: 'moving@example.com' })
  let jti = 0
  const through = async (aud: string, sub: string) => {
    jti += 1
    const claims = { jti, aud, sub, email: user.email, email_verified: true }
    return bySso(await provider.idToken(clock.now(), claims), { account: moving.slug })
  }
  t.equal((await through(CLIENT_ID, 'pair-1')).statusCode, 200)
  await changePolicy(moving, { sso: { clientId: 'next-client' } })
  t.same(await exemptOf(moving), [], 'of another client nobody is known yet')
  const preview = await call('POST', '/v1/policy/preview', {
    ...{ as: moving.apiKey, body: { sso: { clientId: CLIENT_ID } } }
  })
  t.match(preview.json(), { exempt: 1 })
  t.equal((await through('next-client', 'pair-2')).json().user?.id, user.id)
  await isRefused(t, await through('next-client', 'pair-1'), 'used_or_linked_otherwise', moving)
  await changePolicy(moving, { sso: { clientId: CLIENT_ID } })
  t.equal((await through(CLIENT_ID, 'pair-1')).json().user?.id, user.id, 'known as before')
  t.equal(await isShownExempt(moving, user), true)
})

t.test(
  'the first sign-in through the provider is told to the user, and no other',
  ON_SERVER,
  async (t) => {
    const user = await createUser({ account, email: 'told@example.com' })
    const claims = { sub: 'told', email: user.email, email_verified: true }
    for (const jti of [1, 2]) await bySso(await provider.idToken(clock.now(), { ...claims, jti }))
    const told = { kind: 'sso_linked', details: {}, address: '127.0.0.1' }
    t.same(await mailsTo(service, user.email), [told])
  }
)

t.test('401: what changes while the provider is asked counts', ON_SERVER, async (t) => {
  type Change = (of: TestAccount, user: TestUser) => Promise<unknown>
  const changes: [title: string, why: string, change: Change][] = [
    ['off', 'changed_meanwhile', (of) => changePolicy(of, { sso: { mode: 'off' } })],
    ['client', 'changed_meanwhile', (of) => changePolicy(of, { sso: { clientId: 'next' } })],
    ['issuer', 'changed_meanwhile', (of) => changePolicy(of, { sso: { issuer: elsewhere.url } })],
    ['disabled', 'no_user', (of, { id }) => patchUser(of, id, { disabled: true })],
    ['address', 'no_user', (of, { id }) => patchUser(of, id, { email: 'taken@example.com' })]
  ]
  for (const [title, why, change] of changes) {
    const of = await ssoAccount('optional')
    const user = await createUser({ account: of, email: 'busy@example.com' })
    const key = await newKey(`busy-${title}`)
    const claims = { sub: 'busy', email: user.email, email_verified: true }
    const idToken = await provider.idToken(clock.now(), claims, { key })
    untilAskedAgain()
    const answer = await whileAsked(
      key,
      () => change(of, user),
      bySso(idToken, { account: of.slug })
    )
    await t.test(title, async (t) => isRefused(t, answer, why, of))
    t.equal(await service.database.prisma.ssoIdentity.count({ where: { userId: user.id } }), 0)
  }
})

t.test('a link is made to the address that was judged, or not at all', ON_SERVER, async (t) => {
  const user = await createUser({ account, email: 'judged@example.com' })
  const key = { accountId: account.id, userId: user.id }
  const event = signEvent(Buffer.alloc(32), auditEvent({ ...key, occurredAt: clock.now() }))
  const outcome = await createSsoIdentities(service.database.prisma).signIn({
    userId: user.id,
    identity: {
      accountId: account.id,
      issuer: provider.url,
      clientId: CLIENT_ID,
      subject: 'judged'
    },
    verifiedEmail: 'before@example.com',
    idToken: { hash: new Uint8Array(32), expiresAt: clock.now() },
    record: { event, notice: null }
  })
  t.equal(outcome, 'changed_meanwhile')
  t.equal(await service.database.prisma.ssoIdentity.count({ where: key }), 0)
})

const FLAWS: [title: string, claims: () => Record<string, unknown>, why: string][] = [
  ['another issuer', () => ({ iss: elsewhere.url }), 'other_issuer'],
  ['an issuer with a slash more', () => ({ iss: `${provider.url}/` }), 'other_issuer'],
  ['another client', () => ({ aud: 'another-client' }), 'other_client'],
  ['another client among several', () => ({ aud: ['one', 'two'] }), 'other_client'],
  ['several clients and no azp', () => ({ aud: [CLIENT_ID, 'other'] }), 'other_client'],
  ['azp another', () => ({ azp: 'other' }), 'other_client'],
  ['several, azp another', () => ({ aud: [CLIENT_ID, 'other'], azp: 'other' }), 'other_client'],
  ['expired', () => ({ exp: seconds(0) }), 'expired'],
  ['six minutes old', () => ({ iat: seconds(-360) }), 'too_old'],
  ['five minutes and a second old', () => ({ iat: seconds(-301) }), 'too_old'],
  ['issued in the future', () => ({ iat: seconds(60) }), 'not_yet_valid'],
  ['valid in the future only', () => ({ nbf: seconds(60) }), 'not_yet_valid'],
  ['a nonce that nobody asked for', () => ({ nonce: 'n-0' }), 'other_nonce'],
  ['a logout token', () => ({ events: {} }), 'other_kind'],
  ['no subject', () => ({ sub: undefined }), 'malformed'],
  ['a subject with NUL', () => ({ sub: 'a\u0000b' }), 'malformed'],
  ['no expiry', () => ({ exp: undefined }), 'malformed'],
  ['an expiry in words', () => ({ exp: '9999999999' }), 'malformed'],
  ['no issue date', () => ({ iat: undefined }), 'malformed'],
  ['an auth_time in words', () => ({ auth_time: 'now' }), 'malformed']
]

t.test(
  '401: what an ID token must say, and nobody is asked for one that does not',
  ON_SERVER,
  async (t) => {
    const askedBefore = provider.asked.length
    for (const [title, claims, why] of FLAWS) {
      const idToken = await provider.idToken(clock.now(), { ...ADA, ...claims() })
      await t.test(title, async (t) => isRefused(t, await bySso(idToken), why))
    }
    const bound = await provider.idToken(clock.now(), { ...ADA, nonce: 'right' })
    await isRefused(t, await bySso(bound, { nonce: 'wrong' }), 'other_nonce')
    const unbound = await provider.idToken(clock.now(), ADA)
    await isRefused(t, await bySso(unbound, { nonce: 'right' }), 'other_nonce')
    t.equal(provider.asked.length, askedBefore)
    t.same(elsewhere.asked, [])
  }
)

t.test('200: a token for several clients that was issued to this one', ON_SERVER, async (t) => {
  const shared = { aud: ['other', CLIENT_ID], azp: CLIENT_ID }
  const answer = await bySso(await provider.idToken(clock.now(), { ...ADA, ...shared }))
  t.equal(answer.json().user?.id, ada.id)
})

t.test(
  '401: an e-mail address that the provider does not vouch for tells nobody',
  ON_SERVER,
  async (t) => {
    const user = await createUser({ account, email: 'unverified@example.com' })
    const said = { sub: 'unverified', email: user.email }
    for (const email_verified of [undefined, false, 'true', 1, null]) {
      const idToken = await provider.idToken(clock.now(), { ...said, email_verified })
      await isRefused(t, await bySso(idToken), 'no_user')
    }
  }
)

t.test('401: unknown, disabled and refused are answered alike', ON_SERVER, async (t) => {
  const user = await createUser({ account, email: 'gone@example.com' })
  const gone = { sub: 'gone', email: user.email, email_verified: true }
  t.equal((await bySso(await provider.idToken(clock.now(), gone))).statusCode, 200)
  await call('PATCH', `/v1/users/${user.id}`, { as: account.apiKey, body: { disabled: true } })
  const disabled = await bySso(await provider.idToken(clock.now(), gone))
  await isRefused(t, disabled, 'no_user')
  const stranger = { ...gone, sub: 'stranger', email: 'stranger@example.com' }
  const unknown = await bySso(await provider.idToken(clock.now(), stranger))
  await isRefused(t, unknown, 'no_user')
  t.same(tellTales(unknown), tellTales(disabled))
})

t.test('401: only the provider’s own key signs, whatever the header says', ON_SERVER, async (t) => {
  const foreign = await newKey('first')
  const claims = { ...ADA, iss: provider.url, aud: CLIENT_ID, iat: seconds(0), exp: seconds(60) }
  const [own] = provider.keys
  const askedBefore = provider.asked.length
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
    const idToken = await provider.idToken(clock.now(), ADA, { key: foreign, header })
    await isRefused(t, await bySso(idToken), 'signature')
  }
  const critical = await provider.idToken(clock.now(), ADA, { header: { typ: 'at+jwt' } })
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
  t.equal(provider.asked.length, askedBefore)
  t.same(elsewhere.asked, [])
})

t.test('401 · 400: what is no ID token makes us ask nobody', ON_SERVER, async (t) => {
  const askedBefore = provider.asked.length
  const whole = await provider.idToken(clock.now(), ADA)
  const [header, payload, signature] = whole.split('.')
  const garbage = [
    ...['garbage', 'a.b.c', 'e30.e30.AA', '..', `${header}.${payload}`, `${header}.${payload}.`],
    ...[`${whole}.more`, `${header}.${payload}.${signature}=`, ` ${whole}`, `${whole}\u0000`],
    ...[`${header}.bnVsbA.${signature}`, `${header}.W10.${signature}`, 'é.é.é']
  ]
  for (const idToken of garbage) await isRefused(t, await bySso(idToken), 'malformed')
  await isRefused(t, await bySso(whole.slice(0, -8)), 'signature')
  isProblem(t, await bySso('a'.repeat(8193)), 400, 'invalid-request')
  isProblem(t, await bySso('a'.repeat(17_000)), 413, 'body-too-large')
  t.equal(provider.asked.length, askedBefore)
})

t.test('400: a flag of the client is no sign-in', ON_SERVER, async (t) => {
  const idToken = await provider.idToken(clock.now(), ADA)
  for (const flag of [{ sso: true }, { email: ada.email }, { firstFactor: 'sso' }]) {
    isProblem(t, await bySso(idToken, flag), 400, 'invalid-request')
    const body = { account: account.slug, email: ada.email, password: ada.password, ...flag }
    if ('email' in flag) continue
    isProblem(t, await call('POST', '/v1/login', { body }), 400, 'invalid-request')
  }
})

t.test('401: each ID token works once, however its signature is spelt', ON_SERVER, async (t) => {
  const idToken = await provider.idToken(clock.now(), ADA)
  t.equal((await bySso(idToken)).statusCode, 200)
  await isRefused(t, await bySso(idToken), 'used_or_linked_otherwise')
  const [header, payload, signature = ''] = idToken.split('.')
  const raw = Buffer.from(signature, 'base64url')
  // ECDSA signs by (r, s) and by (r, -s) alike; base64url leaves four bits of the last character free.
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
})

t.test(
  'keys rotate: a new one is asked for once, one taken back signs no more',
  ON_SERVER,
  async (t) => {
    const [before] = provider.keys
    const next = await newKey('second', 'RS256')
    provider.keys = [next]
    untilAskedAgain()
    const asked = askedForKeys()
    const answers = await Promise.all(
      [1, 2, 3].map(async (jti) => bySso(await provider.idToken(clock.now(), { ...ADA, jti })))
    )
    t.same(
      answers.map(({ statusCode }) => statusCode),
      [200, 200, 200]
    )
    t.equal(askedForKeys(), asked + 1, 'they share what was asked')
    const old = await provider.idToken(clock.now(), ADA, before && { key: before })
    await isRefused(t, await bySso(old), 'signature')
  }
)

t.test('401: forged key ids make us ask once in ten seconds', ON_SERVER, async (t) => {
  untilAskedAgain()
  const asked = askedForKeys()
  for (let forged = 0; forged < 5; forged += 1) {
    const key = await newKey(`forged-${forged}`)
    await isRefused(t, await bySso(await provider.idToken(clock.now(), ADA, { key })), 'signature')
  }
  t.equal(askedForKeys(), asked + 1)
})

t.test(
  '503: a provider that is down; who signs by a key that we have gets in',
  ON_SERVER,
  async (t) => {
    await provider.stop()
    clock.advance({ minutes: 11 })
    t.equal((await bySso(await provider.idToken(clock.now(), ADA))).statusCode, 200)
    const key = await newKey('third')
    untilAskedAgain()
    const idToken = await provider.idToken(clock.now(), ADA, { key })
    for (const answer of [await bySso(idToken), await bySso(idToken)]) {
      isProblem(t, answer, 503, 'unavailable')
      t.equal(answer.headers['retry-after'], '10')
    }
    provider.keys = [key, ...provider.keys]
    await provider.start()
    untilAskedAgain()
    t.equal((await bySso(idToken)).statusCode, 200, 'it was not used up meanwhile')
  }
)

t.test('503: whatever a provider answers, it is bounded and not followed', ON_SERVER, async (t) => {
  const reachable = { issuer: provider.url, jwks_uri: `${elsewhere.url}/keys` }
  const answers: [string, () => void][] = [
    ['1 MiB', () => answer((response) => response.end(JSON.stringify('x'.repeat(1 << 20))))],
    [
      'a redirect',
      () => answer((response) => response.writeHead(302, { location: elsewhere.url }).end())
    ],
    ['no JSON', () => answer((response) => response.end('{'))],
    ['null', () => answer((response) => response.end('null'))],
    ['HTML', () => answer((response) => response.setHeader('content-type', 'text/html').end('{}'))],
    ['500', () => answer((response) => response.writeHead(500).end('{}'))],
    ['another issuer', () => discover({ ...reachable, issuer: elsewhere.url })],
    ['no keys', () => discover({ jwks_uri: undefined })],
    ['keys in a file', () => discover({ jwks_uri: 'file:///etc/passwd' })],
    ['keys in a private network', () => discover({ jwks_uri: 'https://10.0.0.1/keys' })],
    ['keys at the metadata service', () => discover({ jwks_uri: 'http://169.254.169.254/' })],
    ['keys that are none', () => discover({ jwks_uri: `${provider.url}/.well-known/x` })],
    ['nothing, for long', () => answer(() => {})]
  ]
  const key = await newKey('fourth')
  for (const [title, arrange] of answers) {
    arrange()
    untilAskedAgain()
    const began = performance.now()
    const refused = await bySso(await provider.idToken(clock.now(), ADA, { key }))
    const tookMs = performance.now() - began
    await t.test(title, async (t) => {
      isProblem(t, refused, 503, 'unavailable')
      t.ok(tookMs < 3000, `${tookMs} ms`)
    })
  }
  t.same(elsewhere.asked, [])

  function answer(how: (response: Parameters<typeof sendJson>[0]) => void) {
    provider.discovery = {}
    provider.answerWith = (_request, response) => {
      response.setHeader('content-type', 'application/json')
      how(response)
    }
  }
  function discover(discovery: Record<string, unknown>) {
    provider.answerWith = null
    provider.discovery = discovery
  }
})

t.test('200: the keys may be on another host, if the issuer says so', ON_SERVER, async (t) => {
  const key = await newKey('elsewhere')
  const host = await openHttpServer(t, (_request, response) =>
    sendJson(response, { keys: [key.publicJwk] })
  )
  provider.answerWith = null
  provider.discovery = { jwks_uri: `${host.url}/keys` }
  untilAskedAgain()
  const idToken = await provider.idToken(clock.now(), ADA, { key })
  t.equal((await bySso(idToken)).statusCode, 200)
  t.same(host.asked, ['/keys'])
  provider.discovery = {}
})

t.test('403: no single sign-on, and no such account, are answered alike', ON_SERVER, async (t) => {
  const without = await createAccount()
  const idToken = await provider.idToken(clock.now(), ADA)
  const answers = await Promise.all(
    [without.slug, 'no-such-account'].map((slug) => bySso(idToken, { account: slug }))
  )
  for (const answer of answers) isProblem(t, answer, 403, 'sso-not-enabled')
  const [one, other] = answers.map(tellTales)
  t.same(one, other)
  const asserted = await assert(await createUser({ account: without }), 'sso')
  isProblem(t, asserted, 403, 'sso-not-enabled')
  t.match(await eventsOf({ type: 'sign_in.sso' }, without), [
    { outcome: 'refused', reason: 'sso-not-enabled', actor: { kind: 'anonymous' } }
  ])
})

t.test(
  '401: an ID token is good for the account whose client it names, and for no other',
  ON_SERVER,
  async (t) => {
    const other = await ssoAccount('optional', { clientId: 'other-client' })
    await createUser({ account: other, email: ada.email })
    untilAskedAgain()
    const idToken = await provider.idToken(clock.now(), ADA)
    isProblem(t, await bySso(idToken, { account: other.slug }), 401, 'invalid-sso-token')
  }
)

t.test(
  '200: a back end’s own word is single sign-on, a second factor just now',
  ON_SERVER,
  async (t) => {
    const user = await enrolledUser({ account })
    const answer = await assert(user, 'sso')
    t.match(answer.json(), { status: 'authenticated', reason: 'sso_supersedes' })
    const { amr, acr, auth_time } = claimsOf(answer)
    t.same(
      { amr, acr, auth_time },
      { amr: ['sso'], acr: 'urn:twostep:acr:2', auth_time: seconds(0) }
    )
    t.match((await assert(user, 'pwd')).json(), { status: 'verification_required' })
  }
)

t.test(
  '403: an account of single sign-on alone has no password door, and none left open',
  ON_SERVER,
  async (t) => {
    const strict = await createAccount()
    const user = await enrolledUser({ account: strict })
    const stepToken = await assertedToken(user)
    await changePolicy(strict, {
      sso: { mode: 'required', issuer: provider.url, clientId: CLIENT_ID }
    })
    isProblem(t, await login(user), 403, 'sso-required')
    isProblem(t, await login({ ...user, password: 'wrong' }), 403, 'sso-required')
    isProblem(t, await assert(user, 'pwd'), 403, 'sso-required')
    isProblem(t, await verify(stepToken, user.nextCode()), 403, 'sso-required')
    const claims = { sub: 'strict', email: user.email, email_verified: true }
    provider.keys = [await newKey('strict')]
    untilAskedAgain()
    const idToken = await provider.idToken(clock.now(), claims)
    t.equal((await bySso(idToken, { account: strict.slug })).statusCode, 200)
    t.equal((await assert(user, 'sso')).statusCode, 200)
  }
)

t.test('the roster shows who is exempt, and finds them', ON_SERVER, async (t) => {
  const mixed = await ssoAccount('optional')
  const linked = await createUser({ account: mixed, email: 'linked@example.com' })
  const other = await createUser({ account: mixed })
  const claims = { sub: 'linked', email: linked.email, email_verified: true }
  untilAskedAgain()
  const idToken = await provider.idToken(clock.now(), claims)
  t.equal((await bySso(idToken, { account: mixed.slug })).statusCode, 200)
  t.same(await exemptOf(mixed), [linked.id])
  t.equal(await isShownExempt(mixed, linked), true)
  t.equal(await isShownExempt(mixed, other), false)
  await changePolicy(mixed, { sso: { mode: 'required' } })
  t.same(await exemptOf(mixed), [linked.id, other.id])
  t.equal(await isShownExempt(mixed, other), true)
  await changePolicy(mixed, { sso: { mode: 'optional', issuer: 'https://new.example' } })
  t.same(await exemptOf(mixed), [], 'of another provider nobody is known yet')
  await changePolicy(mixed, { sso: { mode: 'off' } })
  t.same(await exemptOf(mixed), [])
  t.equal(await isShownExempt(mixed, linked), false)
})

t.test(
  '503: in production a provider in a private network is asked only where configured',
  ON_SERVER,
  async (t) => {
    let connections = 0
    const listener = createServer((socket) => {
      connections += 1
      socket.destroy()
    }).listen(0, '127.0.0.1')
    await once(listener, 'listening')
    t.teardown(() => listener.close())
    const issuer = `https://127.0.0.1:${(listener.address() as AddressInfo).port}`
    const secure = await ssoAccount('optional', { issuer })

    const { database } = service
    const env = { NODE_ENV: 'production' }
    const configured = { ...env, SSO_PRIVATE_NETWORKS: '127.0.0.0/8' }
    const asked = provider.asked.length
    const plain = await startApp(t, { env, database, clock })
    for (const { of, iss } of [
      { of: account, iss: provider.url },
      { of: secure, iss: issuer }
    ]) {
      const idToken = await provider.idToken(clock.now(), { ...ADA, iss })
      const body = { account: of.slug, idToken }
      isProblem(t, await plain.call('POST', '/v1/login/sso', { body }), 503, 'unavailable')
    }
    t.equal(provider.asked.length, asked, 'plain http is not for production')
    t.equal(connections, 0)
    const closed = await startApp(t, { env: configured, database, clock })
    const idToken = await provider.idToken(clock.now(), { ...ADA, iss: issuer })
    const body = { account: secure.slug, idToken }
    isProblem(t, await closed.call('POST', '/v1/login/sso', { body }), 503, 'unavailable')
    t.equal(connections, 1)
  }
)

t.test(
  'ID tokens that are dead by themselves are forgotten an hour later, and no others',
  ON_SERVER,
  async (t) => {
    const { prisma } = service.database
    const identities = createSsoIdentities(prisma)
    clock.advance({ minutes: 10 })
    const idToken = await provider.idToken(clock.now(), ADA)
    t.equal((await bySso(idToken)).statusCode, 200)
    const livesUntil = clock.now().getTime() + 300_000
    await identities.forgetExpiredIdTokens(new Date(livesUntil + 3_600_000))
    t.equal(await prisma.usedIdToken.count(), 1)
    await identities.forgetExpiredIdTokens(new Date(livesUntil + 3_601_000))
    t.equal(await prisma.usedIdToken.count(), 0)
  }
)

async function ssoAccount(mode: 'optional' | 'required', sso: object = {}): Promise<TestAccount> {
  const made = await createAccount()
  await changePolicy(made, { sso: { mode, issuer: provider.url, clientId: CLIENT_ID, ...sso } })
  return made
}

function bySso(idToken: string, more: object = {}): Promise<Answer> {
  return call('POST', '/v1/login/sso', { body: { account: account.slug, idToken, ...more } })
}

/** Lets the provider answer with a new key only after what happens meanwhile. */
async function whileAsked(
  key: ProviderKey,
  meanwhile: () => Promise<unknown>,
  pending: Promise<Answer>
): Promise<Answer> {
  const before = provider.keys
  provider.keys = [key]
  const asked = new Promise<() => void>((resolve) => {
    provider.answerWith = (request, response) => {
      resolve(() => {
        provider.answerWith = null
        provider.answer(request, response)
      })
    }
  })
  const goOn = await asked
  await meanwhile()
  goOn()
  const answer = await pending
  provider.keys = before
  untilAskedAgain()
  return answer
}

function patchUser(of: TestAccount, id: string, body: object): Promise<Answer> {
  return call('PATCH', `/v1/users/${id}`, { as: of.apiKey, body })
}

function assert(user: TestUser, firstFactor: 'pwd' | 'sso'): Promise<Answer> {
  const body = { userId: user.id, firstFactor }
  return call('POST', '/v1/login/assertion', { as: user.account.apiKey, body })
}

/** The caller hears one thing; the record says which of all it was. */
async function isRefused(t: Test, answer: Answer, why: string, of = account): Promise<void> {
  isProblem(t, answer, 401, 'invalid-sso-token')
  t.equal(answer.headers['www-authenticate'], 'Bearer error="invalid_token"')
  const [event] = await eventsOf({ type: 'sign_in.sso', limit: '1' }, of)
  t.match(event, { outcome: 'refused', reason: 'invalid-sso-token', details: { why } })
}

async function eventsOf(query: Record<string, string>, of = account) {
  const asked = new URLSearchParams(query)
  const answer = await call('GET', `/v1/audit-events?${asked}`, { as: of.apiKey })
  return answer.json().items
}

function claimsOf(answer: Answer): Record<string, unknown> {
  const [, payload = ''] = String(answer.json().accessToken).split('.')
  return JSON.parse(Buffer.from(payload, 'base64url').toString())
}

async function exemptOf({ apiKey: as }: TestAccount): Promise<string[]> {
  const { items } = (await call('GET', '/v1/users?twoFactor=exempt', { as })).json()
  return items.map(({ id }: { id: string }) => id)
}

async function isShownExempt({ apiKey: as }: TestAccount, { id }: TestUser): Promise<boolean> {
  return (await call('GET', `/v1/users/${id}`, { as })).json().twoFactor.exempt
}
