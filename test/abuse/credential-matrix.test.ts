// S8, S10, S12: every kind of credential on every route. The contract is a table (docs: "Problems" and the
// route tables), written a second time. A registered route that the table lacks fails the test.
import { subscribe } from 'node:diagnostics_channel'
import type { FastifyInstance } from 'fastify'
import t from 'tap'
import { SCOPES, type Scope } from '../../src/core/bearer-keys.ts'
import { ON_SERVER, OPERATOR_KEY, startApp, type TestUser } from '../support/app.ts'
import type { Answer } from '../support/calls.ts'
import { type Bearer, CHALLENGE, CONTRACT, expected, SECOND_SCOPES } from './credential-contract.ts'

const registered = new Set<string>()
subscribe('fastify.initialization', (message) => {
  const { fastify } = message as { fastify: FastifyInstance }
  fastify.addHook('onRoute', ({ method, url }) => {
    for (const each of [method].flat()) registered.add(`${each} ${url}`)
  })
})

const service = await startApp(t)
const { app, call, clock, createAccount, createApiKey, createUser, enrolledUser, verify } = service
const { assertedToken, changePolicy, confirm, enroll, database } = service

const account = await createAccount()
const strict = await createAccount()
await changePolicy(strict, { twoFactor: 'required' })
const stranger = await createAccount()

/** Another member of the account is the target of most requests. Requests that could delete name an unknown id. */
const target = await createUser({ account })
const UNKNOWN_ID = '01980000-0000-7000-8000-000000000000'

// Old credentials are created first: 901, 601 and 600 seconds before the requests.
const member = { account }
const admin = { account, role: 'admin' } as const
const expiredKey = await keyUntil(new Date(clock.now().getTime() + 60_000))
const expiredVerifyStep = await stepTokenOf(await enrolledUser(member))
const expiredEnrollStep = await stepTokenOf(await createUser({ account: strict }))
const expiredAccess = await (await enrolledUser(member)).accessToken()
clock.advance({ seconds: 300 })
const staleMember = await (await enrolledUser(member)).accessToken()
const staleAdmin = await (await enrolledUser(admin)).accessToken()
const stalePassword = await assertedToken(await createUser(member))
clock.advance({ seconds: 1 })
const oldestFresh = await (await enrolledUser(member)).accessToken()
clock.advance({ seconds: 600 })

const freshMember = await enrolledUser(member)
const memberToken = await freshMember.accessToken()
const verifyStep = await stepTokenOf(freshMember)
const enrollStep = await stepTokenOf(await createUser({ account: strict }))

const person = {
  kind: 'person',
  role: 'member',
  secondsAgo: 0,
  hasSecondFactor: true,
  hasAuthenticator: true
} as const
const byPassword = { ...person, hasSecondFactor: false, hasAuthenticator: false } as const
const invalid = { kind: 'invalid' } as const

interface Held {
  /** The whole `Authorization` header. */
  authorization?: string
  bearer: Bearer
}

const held = new Map<string, Held>()
const hold = (name: string, token: string, bearer: Bearer) =>
  held.set(name, { authorization: `Bearer ${token}`, bearer })

held.set('no credential', { bearer: invalid })
held.set('an empty bearer', { authorization: 'Bearer', bearer: invalid })
held.set('another scheme', { authorization: `Basic ${memberToken}`, bearer: invalid })
held.set('two tokens', { authorization: `Bearer ${memberToken} ${memberToken}`, bearer: invalid })
held.set('the scheme in lower case', { authorization: `bearer ${memberToken}`, bearer: person })
hold('garbage', 'garbage', invalid)
hold('garbage like a JWT', 'e30.e30.AA', invalid)
hold('a very long bearer', 'a'.repeat(8000), invalid)

hold('the operator key', OPERATOR_KEY, { kind: 'operator' })
hold('the operator key with another secret', withOtherEnd(OPERATOR_KEY), invalid)
hold('the operator key with another id', OPERATOR_KEY.replace('0001', '0002'), invalid)
hold('the operator key with the prefix of an API key', OPERATOR_KEY.replace('tso', 'tsk'), invalid)

hold('an API key with every scope', account.apiKey, { kind: 'key', scopes: SCOPES })
hold('an API key with another secret', withOtherEnd(account.apiKey), invalid)
hold(
  'an API key with the prefix of the operator key',
  account.apiKey.replace('tsk', 'tso'),
  invalid
)
hold('an API key of another account', stranger.apiKey, { kind: 'key', scopes: SCOPES })
hold('an API key that has expired', expiredKey, invalid)
hold('an API key that was revoked', await revokedKey(), invalid)
for (const scope of SCOPES) {
  const key = await createApiKey(account, scope)
  hold(`an API key for ${scope}`, key, { kind: 'key', scopes: [scope] })
}

hold('a step token to verify', verifyStep, { kind: 'step', purpose: 'verify' })
hold('a step token to verify, expired', expiredVerifyStep, invalid)
hold('a step token to verify, used up', await usedUpVerifyStep(), invalid)
hold(
  'a step token to verify, of an old epoch',
  await ofOldEpoch(await enrolledUser(member)),
  invalid
)
hold('a step token to verify, altered', withOtherEnd(verifyStep), invalid)
hold('a step token to enroll', enrollStep, { kind: 'step', purpose: 'enroll' })
hold('a step token to enroll, expired', expiredEnrollStep, invalid)
hold('a step token to enroll, used up', await usedUpEnrollStep(), invalid)
hold(
  'a step token to enroll, of an old epoch',
  await ofOldEpoch(await createUser({ account: strict })),
  invalid
)

hold('a member after a password', await assertedToken(await createUser(member)), byPassword)
hold('a member after a password 601 s ago', stalePassword, { ...byPassword, secondsAgo: 601 })
hold('a member after a code', memberToken, person)
hold('a member after a code 600 s ago', oldestFresh, { ...person, secondsAgo: 600 })
hold('a member after a code 601 s ago', staleMember, { ...person, secondsAgo: 601 })
hold('a member after a code 901 s ago', expiredAccess, invalid)
hold('a member with an altered token', withOtherEnd(memberToken), invalid)
hold('a member with a token of an old epoch', await ofOldEpoch(await createUser(member)), invalid)
hold('a member who was disabled', await ofDisabled(await createUser(member)), invalid)
hold('a member who was deleted', await ofDeleted(await createUser(member)), invalid)
hold('a member who was an admin', await ofDemoted(), person)
hold('an admin after a password', await assertedToken(await createUser(admin)), {
  ...byPassword,
  role: 'admin'
})
hold('an admin after a code', await (await enrolledUser(admin)).accessToken(), {
  ...person,
  role: 'admin'
})
hold('an admin after a code 601 s ago', staleAdmin, { ...person, role: 'admin', secondsAgo: 601 })
hold(
  'an admin of another account',
  await (await enrolledUser({ account: stranger, role: 'admin' })).accessToken(),
  { ...person, role: 'admin' }
)

// The accounts require two-factor, so an admitted request can't turn it off: `policy-requires-authenticator`.
await changePolicy(account, { twoFactor: 'required' })
await changePolicy(stranger, { twoFactor: 'required' })

const before = await rows()

t.test('S30: the contract knows every registered route', ON_SERVER, async (t) => {
  const routes = [...registered].filter((route) => !route.startsWith('HEAD '))
  t.same(routes.sort(), Object.keys(CONTRACT).sort())
})

for (const [name, { authorization, bearer }] of held) {
  t.test(`S8: ${name}: each route admits or refuses it as the contract says`, async (t) => {
    const headers: Record<string, string> = authorization ? { authorization } : {}
    const wanted: Record<string, string> = {}
    const found: Record<string, string> = {}
    for (const [route, taken] of Object.entries(CONTRACT)) {
      for (const { cell, method, url, isOwn } of requestsTo(route)) {
        const body = ['GET', 'DELETE'].includes(method) ? {} : { body: { 'no such member': 1 } }
        wanted[cell] = expected(bearer, taken, isOwn)
        found[cell] = verdict(await call(method, url, { headers, ...body }), authorization)
      }
    }
    t.same(found, wanted)
  })
}

t.test('S8: HEAD is admitted and refused exactly as GET is', ON_SERVER, async (t) => {
  const cells = Object.entries(CONTRACT)
    .filter(([route]) => /^GET /.test(route) && registered.has(route.replace('GET', 'HEAD')))
    .flatMap(([route, taken]) => requestsTo(route).map((request) => ({ ...request, taken })))
  t.ok(cells.length > 10)
  for (const name of ['no credential', 'a step token to verify', 'an API key for introspect']) {
    const { authorization, bearer } = held.get(name) ?? { bearer: invalid }
    const headers = authorization ? { authorization } : {}
    for (const { cell, url, isOwn, taken } of cells) {
      const { statusCode } = await app.inject({ method: 'HEAD', url, headers })
      const [status = ''] = expected(bearer, taken, isOwn).split(' ')
      t.match(String(statusCode), status === 'admitted' ? /^[23]/ : status, `${name}: ${cell}`)
    }
  }
})

t.test('S8: the refused requests have changed nothing', ON_SERVER, async (t) => {
  t.same(await rows(), before)
})

t.test(
  'S12: 403: an API key asserts no first factor that its scopes do not allow',
  ON_SERVER,
  async (t) => {
    for (const [scope, firstFactor] of [
      ['login:assert', 'sso'],
      ['login:assert-sso', 'pwd']
    ] as const) {
      const { authorization = '' } = held.get(`an API key for ${scope}`) ?? {}
      const body = { userId: target.id, firstFactor }
      const answer = await call('POST', '/v1/login/assertion', { headers: { authorization }, body })
      t.equal(verdict(answer, authorization), '403 insufficient-scope')
    }
  }
)

for (const { request, of, body, scopes } of SECOND_SCOPES) {
  const [scope, second] = scopes
  const named = [request, of && `of a ${of}`, body && JSON.stringify(body)]
    .filter(Boolean)
    .join(' ')
  t.test(`S12: 403: ${scope} alone is not enough for ${named}`, async (t) => {
    const owner = await createAccount()
    await createUser({ account: owner, role: 'admin' })
    const { id } = await createUser({ account: owner, role: of ?? 'member' })
    const send = async (...held: Scope[]) => {
      const [method = '', path = ''] = request.split(' ')
      const { etag } = (await call('GET', '/v1/policy', { as: owner.apiKey })).headers
      return call(method, path.replace(':userId', id), {
        as: await createApiKey(owner, ...held),
        ...(body && {
          body: method === 'POST' && of === undefined ? { ...base(path), ...body } : body
        }),
        headers: path === '/v1/policy' ? { 'if-match': String(etag) } : {}
      })
    }
    for (const one of scopes) t.match((await send(one)).json(), { code: 'insufficient-scope' }, one)
    const others = SCOPES.filter((each) => each !== second)
    t.match((await send(...others)).json(), { code: 'insufficient-scope' }, 'every other scope')
    t.match((await send(...scopes)).statusCode, /^20/, 'both scopes')
  })
}

t.test(
  'S12: users:write alone changes members, and other fields of admins',
  ON_SERVER,
  async (t) => {
    const as = await createApiKey(account, 'users:write')
    const change = async (role: 'admin' | 'member', body: object) => {
      const { id } = await createUser({ account, role })
      return (await call('PATCH', `/v1/users/${id}`, { as, body })).statusCode
    }
    t.equal(await change('admin', { externalId: 'crm-2' }), 200)
    t.equal(await change('member', { disabled: true, role: 'member' }), 200)
    t.equal(await change('member', { password: 'another horse, another battery' }), 200)
  }
)

/** Returns the required fields of a new object. */
function base(path: string): object {
  return path === '/v1/users' ? { email: 'new.admin@example.com' } : {}
}

/** Returns one request to a route, or one for each kind of user that its path can name. */
function requestsTo(route: string) {
  const [method = '', path = ''] = route.split(' ')
  const url = path
    .replace(':accountId', account.id)
    .replace(':apiKeyId', 'nosuchapikey')
    .replace(/:(authenticatorId|deviceId)/, UNKNOWN_ID)
    .replace('*', 'index.css')
  if (!url.includes(':userId')) return [{ cell: route, method, url, isOwn: true }]
  return [
    { id: 'me', isOwn: true },
    { id: method === 'DELETE' ? UNKNOWN_ID : target.id, isOwn: false }
  ].map(({ id, isOwn }) => ({
    cell: `${route} (${isOwn ? 'me' : 'another'})`,
    method,
    url: url.replace(':userId', id),
    isOwn
  }))
}

/** Returns `admitted` or the refusal. A 401 with a wrong challenge gets a verdict that the contract does not contain. */
function verdict({ statusCode, headers, body }: Answer, authorization?: string): string {
  if (statusCode < 400) return 'admitted'
  const { code, next } = JSON.parse(body)
  // The body is invalid on purpose. A problem about it shows that the credential was admitted.
  if (code === 'invalid-request' || /not-found$/.test(code)) return 'admitted'
  if (code === 'policy-requires-authenticator') return 'admitted'
  const refusal = [statusCode, code, next].filter(Boolean).join(' ')
  if (statusCode !== 401) return refusal
  const challenge = authorization ? 'Bearer error="invalid_token"' : 'Bearer'
  const wanted = code === 'step-up-required' ? CHALLENGE : challenge
  const sent = headers['www-authenticate']
  return sent === wanted ? refusal : `${refusal} with WWW-Authenticate: ${sent}`
}

async function rows() {
  const { prisma } = database
  return {
    accounts: await prisma.account.findMany({ orderBy: { id: 'asc' } }),
    policies: await prisma.policy.findMany({ orderBy: { accountId: 'asc' } }),
    apiKeys: await prisma.apiKey.findMany({ omit: { lastUsedAt: true }, orderBy: { id: 'asc' } }),
    users: await prisma.user.findMany({ omit: { codePathVersion: true }, orderBy: { id: 'asc' } }),
    authenticators: await prisma.authenticator.findMany({ orderBy: { id: 'asc' } }),
    // Expired rows are deleted in the background, independently of the requests.
    enrollments: await prisma.enrollment.count({ where: { expiresAt: { gt: clock.now() } } }),
    stepTokens: await prisma.stepToken.findMany({
      where: { expiresAt: { gt: clock.now() } },
      orderBy: { jti: 'asc' }
    })
  }
}

function stepTokenOf(user: TestUser): Promise<string> {
  return assertedToken(user)
}

/** Changes the last character but one: not every bit of the last character is used. */
function withOtherEnd(token: string): string {
  return `${token.slice(0, -2)}${token.at(-2) === 'A' ? 'B' : 'A'}${token.at(-1)}`
}

async function keyUntil(expiresAt: Date): Promise<string> {
  const body = { accountId: account.id, name: 'Short', scopes: SCOPES, expiresAt }
  return (await call('POST', '/v1/api-keys', { as: OPERATOR_KEY, body })).json().key
}

async function revokedKey(): Promise<string> {
  const key = await createApiKey(account, 'users:read')
  await call('DELETE', `/v1/api-keys/${key.split('_')[1]}`, { as: OPERATOR_KEY })
  return key
}

async function usedUpVerifyStep(): Promise<string> {
  const user = await enrolledUser(member)
  const token = await stepTokenOf(user)
  await verify(token, user.nextCode())
  return token
}

async function usedUpEnrollStep(): Promise<string> {
  const token = await stepTokenOf(await createUser({ account: strict }))
  const { authenticatorId, setupKey } = (await enroll(token)).json()
  await confirm(token, authenticatorId, service.codeAt(setupKey, clock.now()))
  return token
}

/** Returns a token of the user that was issued before the account's back end made this change. */
async function tokenBefore(user: TestUser, method: string, body?: object): Promise<string> {
  const token = await assertedToken(user)
  const change = { as: user.account.apiKey, ...(body && { body }) }
  const { statusCode } = await call(method, `/v1/users/${user.id}`, change)
  if (statusCode >= 300) throw new Error(`the status is ${statusCode}`)
  return token
}

function ofOldEpoch(user: TestUser): Promise<string> {
  return tokenBefore(user, 'PATCH', { password: 'another horse, another battery' })
}

function ofDisabled(user: TestUser): Promise<string> {
  return tokenBefore(user, 'PATCH', { disabled: true })
}

function ofDeleted(user: TestUser): Promise<string> {
  return tokenBefore(user, 'DELETE')
}

/** Returns the token of a former admin. The role in the token does not count, only the current one. */
async function ofDemoted(): Promise<string> {
  const user = await enrolledUser(admin)
  const token = await user.accessToken()
  await call('PATCH', `/v1/users/${user.id}`, { as: account.apiKey, body: { role: 'member' } })
  return token
}
