// The order in which a request is checked. The table CHECKS lists the registered checks in their order. If a request fails
// two checks, the response comes from the earlier one.
import { once } from 'node:events'
import { type IncomingMessage, type RequestOptions, request } from 'node:http'
import { setTimeout as sleep } from 'node:timers/promises'
import type { FastifyPluginCallback } from 'fastify'
import t from 'tap'
import { buildApp, CHECKS } from '../../src/app.ts'
import type { Parts } from '../../src/parts.ts'
import { OPERATOR_KEY, startApp, testConfig, UNKNOWN } from '../support/app.ts'
import { openTestDatabase } from '../support/database.ts'
import { verdictOf, wrongCode } from '../support/guesses.ts'
import { isProblem } from '../support/problems.ts'
import { actsOn } from '../support/records.ts'

const ORIGIN = 'https://app.example.com'
/** Longer than a body takes that is not held back. */
const HELD_MS = 400

const database = await openTestDatabase(t)
const service = await startApp(t, {
  database,
  listen: true,
  env: { CORS_ORIGINS: ORIGIN },
  timeouts: { lateBodyMs: HELD_MS / 2 }
})
/** Another replica, which allows an address one request a minute. */
const limited = await startApp(t, {
  database,
  clock: service.clock,
  env: { CORS_ORIGINS: ORIGIN, RATE_LIMIT_PER_MINUTE: '1' }
})
/** Another one, on which a user may make two requests a minute at one address. */
const userLimited = await startApp(t, {
  database,
  clock: service.clock,
  env: { RATE_LIMIT_PER_MINUTE: '8' }
})
const { call, clock, createAccount, enrolledUser } = service
const account = await createAccount()
const admin = await enrolledUser({ account, role: 'admin' })
const member = await enrolledUser({ account })
const reset = `/v1/users/${member.id}/reset`

let addresses = 0
/** Returns an address that no request has come from. */
function newAddress(): string {
  addresses += 1
  return `198.51.100.${addresses}`
}

/** Returns an address whose limit is spent. */
async function spentAddress(): Promise<string> {
  const from = newAddress()
  await limited.call('GET', '/.well-known/jwks.json', { from })
  return from
}

t.test('the table lists the registered checks in their order', async (t) => {
  const tree = service.app.printPlugins()
  const registered = [...tree.matchAll(/^ *[├└]─[┬─] (\S+) /gm)].map(([, name = '']) => name)
  const names = CHECKS.map(({ plugin }) => nameOf(plugin))
  // The error handler handles what the others throw, so it is registered before them.
  const handler = names.pop() ?? ''
  t.same(
    registered.filter((name) => [...names, handler].includes(name)),
    [handler, ...names]
  )
})

for (const { name, stage, plugin } of CHECKS) {
  t.test(`${name} runs at the stage that the table names: ${stage}`, async (t) => {
    t.ok(stagesOf(plugin).includes(stage), stage)
  })
}

t.test('response headers come before peer and Host', async (t) => {
  const answer = await send(service.url, { path: '/v1/users', setHost: false })
  t.equal(answer.verdict, '400 invalid-request')
  t.match(answer.headers, { 'x-request-id': /./, 'content-security-policy': /default-src/ })
})

t.test('400: peer and Host come before the preflight', async (t) => {
  const answer = await send(service.url, {
    path: '/v1/users',
    method: 'OPTIONS',
    headers: preflight(),
    setHost: false
  })
  t.equal(answer.verdict, '400 invalid-request')
})

t.test('204: the preflight comes before the address limit', async (t) => {
  const answer = await limited.app.inject({
    method: 'OPTIONS',
    url: '/v1/users',
    headers: preflight(),
    remoteAddress: await spentAddress()
  })
  t.equal(answer.statusCode, 204)
})

t.test('503: the deadline includes the time to read a bearer key', async (t) => {
  const hasty = await startApp(t, {
    database,
    clock,
    env: { RATE_LIMIT_PER_MINUTE: '1' },
    timeouts: { answerMs: 500 }
  })
  const from = newAddress()
  await hasty.call('GET', '/.well-known/jwks.json', { from })
  const as = account.apiKey
  await database.prisma.$transaction(
    async (transaction) => {
      await transaction.$executeRaw`LOCK TABLE "ApiKey"`
      isProblem(t, await hasty.call('GET', '/v1/users', { as, from }), 503, 'unavailable')
    },
    { timeout: 10 * 60_000 }
  )
  t.ok(hasty.logged.some((line) => JSON.parse(line).msg === 'request deadline exceeded'))
})

t.test('401: a draining service closes the connection also after a refusal', async (t) => {
  const app = await buildApp({
    config: testConfig({ DATABASE_URL: 'pglite:unused', SMTP_URL: 'smtp://127.0.0.1:1' }),
    database,
    now: clock.now,
    stopping: AbortSignal.abort()
  })
  t.teardown(() => app.close())
  const answer = await app.inject('/v1/users')
  isProblem(t, answer, 401, 'invalid-credential')
  t.equal(answer.headers.connection, 'close')
})

t.test('200: a bearer key is read before the address limit, which exempts it', async (t) => {
  const answer = await limited.call('GET', '/v1/users', {
    as: account.apiKey,
    from: await spentAddress()
  })
  t.equal(answer.statusCode, 200)
})

t.test('429: the address limit comes before the credential', async (t) => {
  const answer = await limited.call('GET', '/v1/users', {
    as: 'not.a.token',
    from: await spentAddress()
  })
  isProblem(t, answer, 429, 'rate-limited')
})

t.test('401: the credential comes before the user limit', async (t) => {
  const user = await enrolledUser({ account })
  const used = await user.stepToken()
  await service.verify(used, user.nextCode())
  const from = await spendUser(await user.stepToken())
  const answer = await userLimited.call('POST', '/v1/verify', { as: used, from })
  isProblem(t, answer, 401, 'invalid-credential')
})

t.test('429: the user limit comes before kind and scope', async (t) => {
  const user = await enrolledUser({ account })
  const from = await spendUser(await user.stepToken())
  // This route does not accept a step token for `verify`.
  const as = await user.stepToken()
  const answer = await userLimited.call('POST', '/v1/enroll', { as, from })
  isProblem(t, answer, 429, 'rate-limited')
})

t.test('403: kind and scope come before role', async (t) => {
  const as = await member.accessToken()
  // A route that accepts no access token checks no role, so no request can fail both checks.
  isProblem(t, await call('GET', '/v1/accounts', { as }), 403, 'insufficient-scope')
})

t.test('403: role comes before freshness', async (t) => {
  const as = await staleToken(member)
  isProblem(t, await call('POST', reset, { as, body: {} }), 403, 'limited-access')
})

t.test('401: freshness comes before the body', async (t) => {
  const as = await staleToken(admin)
  const headers = { 'content-type': 'text/plain' }
  const answer = await call('POST', reset, { as, headers, body: 'not JSON' })
  isProblem(t, answer, 401, 'step-up-required')
})

t.test('400: the body comes before the second check of a late one', async (t) => {
  t.equal(await sendLate('{"name": "x", '), '400 invalid-request')
})

t.test('401: the second check of a late body comes before the schema', async (t) => {
  t.equal(await sendLate('{"no such member": 1}'), '401 invalid-credential')
})

t.test('400: the schema comes before the check of a repeated request', async (t) => {
  const as = account.apiKey
  const headers = { 'idempotency-key': 'schema' }
  const create = (body: object) => call('POST', '/v1/users', { as, headers, body })
  t.equal((await create({ email: 'once@example.com' })).statusCode, 201)
  isProblem(t, await create({ email: 'once@example.com', no: 1 }), 400, 'invalid-request')
})

t.test('422: the check of a repeated request comes before the handler', async (t) => {
  const as = account.apiKey
  const headers = { 'idempotency-key': 'handler' }
  const create = (body: object) => call('POST', '/v1/users', { as, headers, body })
  t.equal((await create({ email: 'twice@example.com' })).statusCode, 201)
  const taken = { email: 'twice@example.com', role: 'admin' }
  isProblem(t, await create(taken), 422, 'idempotency-key-reused')
})

t.test('400: the schema comes before the handler', async (t) => {
  const unknown = `/v1/users/${UNKNOWN}/reset`
  const as = account.apiKey
  isProblem(t, await call('POST', unknown, { as, body: {} }), 404, 'user-not-found')
  isProblem(t, await call('POST', unknown, { as, body: { no: 1 } }), 400, 'invalid-request')
})

t.test('400: the schema comes before the share of a user', async (t) => {
  const user = await enrolledUser({ account })
  const [as, from] = [await user.stepToken(), newAddress()]
  const send = (body: object) => userLimited.call('POST', '/v1/verify', { as, from, body })
  for (let sent = 0; sent < 4; sent += 1) isProblem(t, await send({}), 400, 'invalid-request')
  isProblem(t, await send({ code: wrongCode(user, clock.now()) }), 422, 'code-rejected')
})

t.test('a refusal by the handler is audited before the caller gets it', async (t) => {
  const user = await service.createUser({ account })
  const answer = await call('POST', `/v1/users/${user.id}/reset`, { as: account.apiKey, body: {} })
  isProblem(t, answer, 409, 'nothing-to-reset')
  t.same(await actsOn(service, user.id, 'user.reset'), ['user.reset refused: nothing-to-reset'])
})

function nameOf(plugin: FastifyPluginCallback<Parts>): string {
  return String(Reflect.get(plugin, Symbol.for('fastify.display-name')))
}

/** Returns the stages at which a plugin runs, with the names of the table. */
function stagesOf(
  plugin: FastifyPluginCallback<Parts>,
  options: unknown = { corsOrigins: [ORIGIN] }
): string[] {
  const stages: string[] = []
  const setters: Record<string, string> = {
    removeContentTypeParser: 'parsing',
    setValidatorCompiler: 'validation',
    setErrorHandler: 'error handler'
  }
  const recorder = new Proxy({} as Parameters<typeof plugin>[0], {
    get: (_app, method: string) => (first: unknown, options: unknown) => {
      if (method === 'register') stages.push(...stagesOf(first as typeof plugin, options))
      // A check that wraps the handler of each route.
      else if (first === 'onRoute') stages.push('handler')
      else stages.push(method === 'addHook' ? String(first) : (setters[method] ?? method))
    }
  })
  // A plugin uses the other parts only when a request comes.
  plugin(recorder, options as Parts, () => {})
  return stages
}

function preflight(): Record<string, string> {
  return { origin: ORIGIN, 'access-control-request-method': 'GET' }
}

interface Sent {
  verdict: string
  headers: IncomingMessage['headers']
}

/** Sends a request over a socket, with the last byte of its body only after `meanwhile`. */
async function send(
  url: string,
  options: RequestOptions,
  body = '',
  meanwhile: () => Promise<unknown> = async () => {}
): Promise<Sent> {
  const sent = request(url, options)
  const responded = once(sent, 'response')
  if (body !== '') sent.write(body.slice(0, -1))
  await meanwhile()
  sent.end(body.slice(-1))
  const [response] = (await responded) as [IncomingMessage]
  let text = ''
  for await (const part of response) text += part
  const { statusCode = 0, headers } = response
  const answer = { statusCode, headers, body: text, json: () => JSON.parse(text) }
  return { verdict: verdictOf(answer), headers }
}

/** Sends a body that ends after the API key of its request was revoked. */
async function sendLate(body: string): Promise<string> {
  const creation = { accountId: account.id, name: 'late', scopes: ['keys:write'] }
  const key = (await call('POST', '/v1/api-keys', { as: OPERATOR_KEY, body: creation })).json()
  const headers = {
    authorization: `Bearer ${key.key}`,
    'content-type': 'application/json',
    'content-length': body.length
  }
  const { verdict } = await send(
    service.url,
    { method: 'POST', path: '/v1/api-keys', headers },
    body,
    async () => {
      await sleep(HELD_MS)
      await call('DELETE', `/v1/api-keys/${key.id}`, { as: account.apiKey })
    }
  )
  return verdict
}

/** Spends the user's share at an address, and one more. Returns the address. */
async function spendUser(as: string): Promise<string> {
  const from = newAddress()
  for (let index = 0; index < 3; index += 1) {
    await userLimited.call('POST', '/v1/verify', { as, from, body: { code: '000000' } })
  }
  return from
}

/** Returns an access token whose second factor is older than ten minutes. */
async function staleToken(user: typeof member): Promise<string> {
  const token = await user.accessToken()
  clock.advance({ seconds: 601 })
  return token
}
