// Traces, as an OpenTelemetry collector receives them.
import { createRequire } from 'node:module'
import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { ON_SERVER, startApp } from '../support/app.ts'
import { startCollector } from '../support/collector.ts'
import { openTestDatabase } from '../support/database.ts'
import { freePort } from '../support/processes.ts'

const EXPORT_EVERY_MS = 20
// The SDK itself reads this setting from the environment.
process.env['OTEL_BSP_SCHEDULE_DELAY'] = String(EXPORT_EVERY_MS)
const database = await openTestDatabase(t)
const { cache } = createRequire(import.meta.url)
const isLoaded = () => Object.keys(cache).some((path) => path.includes('/@opentelemetry/'))
const TRACE = '0af7651916cd43dd8448eb211c80319c'
const PARENT = 'b7ad6b7169203331'

t.test('OpenTelemetry is loaded only if the environment configures it', ON_SERVER, async (t) => {
  const { app } = await startApp(t, { database })
  t.equal((await app.inject('/health/ready')).statusCode, 200)
  t.notOk(isLoaded())
})

t.test(
  'a request is a span in the trace of its caller, and its handler is a child span',
  ON_SERVER,
  async (t) => {
    const collector = await startCollector(t)
    const env = { OTEL_EXPORTER_OTLP_ENDPOINT: collector.url }
    const { app, call, createUser, logged } = await startApp(t, { database, env })
    t.ok(isLoaded())
    const { account } = await createUser()
    const answer = await call('GET', '/v1/users?q=ada@example.com', {
      as: account.apiKey,
      headers: { traceparent: `00-${TRACE}-${PARENT}-01`, tracestate: 'host=1' }
    })
    await call('GET', '/v1/users/me', { as: 'not valid' })
    await app.inject('/nowhere/ada@example.com')
    await app.inject('/health/live')
    const problem = await app.inject({ method: 'POST', url: '/v1/login', payload: '{"password' })
    await app.close()

    const spans = collector.spans()
    const requests = spans.filter(({ attributes }) => attributes['twostep.request_id'])
    const [list] = requests.filter(({ traceId }) => traceId === TRACE)
    t.match(list, { name: 'GET /v1/users', kind: 2, parentSpanId: PARENT, status: { code: 0 } })
    t.same(list?.attributes, {
      'http.request.method': 'GET',
      'http.route': '/v1/users',
      'http.response.status_code': 200,
      'twostep.request_id': answer.headers['x-request-id']
    })
    const handler = spans.find(({ parentSpanId }) => parentSpanId === list?.spanId)
    t.match(handler, { traceId: TRACE, attributes: { 'fastify.type': 'request-handler' } })

    const refused = requests.find(({ name }) => name === 'GET /v1/users/:userId')
    t.equal(refused?.attributes['error.type'], 'invalid-credential')
    t.strictSame(refused?.status, { code: 0 }, 'a refusal is not an error of the service')
    t.ok(
      requests.some(({ name }) => name === 'GET'),
      'an unknown path has no name'
    )
    t.notOk(requests.some(({ name }) => name.includes('health')))
    t.equal(problem.statusCode, 415)

    const lines = logged.map((line) => JSON.parse(line))
    const ofList = lines.filter(({ reqId }) => reqId === answer.headers['x-request-id'])
    t.same(
      ofList.map(({ msg, traceId }) => [msg, traceId]),
      [
        ['incoming request', undefined],
        ['request completed', TRACE]
      ]
    )
  }
)

t.test('500: the span is an error, without the text of the error', ON_SERVER, async (t) => {
  const collector = await startCollector(t)
  const env = { OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: `${collector.url}/v1/traces` }
  const { app } = await startApp(t, { database, env })
  await database.prisma.$executeRaw`ALTER TABLE "Account" RENAME TO "ada@example.com"`
  const payload = { account: 'acme', email: 'ada@example.com', password: 'long enough' }
  const answer = await app.inject({ method: 'POST', url: '/v1/login', payload })
  await database.prisma.$executeRaw`ALTER TABLE "ada@example.com" RENAME TO "Account"`
  t.equal(answer.statusCode, 500)
  await app.close()
  const request = collector.spans().find(({ name }) => name === 'POST /v1/login')
  t.strictSame([request?.status, request?.events], [{ code: 2 }, []])
  t.notMatch(collector.received.join(''), /ada@|Account/)
})

t.test(
  'a failing collector is logged once, and its recovery is logged once',
  ON_SERVER,
  async (t) => {
    const collector = await startCollector(t)
    const env = { OTEL_EXPORTER_OTLP_ENDPOINT: `${collector.url}/`, OTEL_TRACES_EXPORTER: 'otlp' }
    const { app, logged } = await startApp(t, { database, env })
    const linesWith = (words: string) => logged.filter((line) => line.includes(words)).length
    const trace = async () => {
      await app.inject('/.well-known/jwks.json')
      await sleep(5 * EXPORT_EVERY_MS)
    }
    collector.refuse(true)
    while (linesWith('trace export failed') === 0) await trace()
    await trace()
    collector.refuse(false)
    while (linesWith('trace export recovered') === 0) await trace()
    t.equal(linesWith('trace export failed'), 1)
    t.ok(collector.spans().length > 0)
  }
)

t.test('an unreachable collector does not delay the stop', ON_SERVER, async (t) => {
  const env = { OTEL_EXPORTER_OTLP_ENDPOINT: `http://127.0.0.1:${await freePort()}` }
  const { app } = await startApp(t, { database, env })
  t.equal((await app.inject('/.well-known/jwks.json')).statusCode, 200)
  await app.close()
  t.pass('stopped')
})
