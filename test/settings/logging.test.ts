// The log contains no secret, whatever a log call passes to it.
import Fastify, { type FastifyBaseLogger } from 'fastify'
import t from 'tap'
import { clientAddresses } from '../../src/plugins/client-addresses.ts'
import { createLogger } from '../../src/settings/logging.ts'

/** Returns an app that logs, with the addresses of clients. */
function loggingApp(log: FastifyBaseLogger) {
  const app = Fastify({ loggerInstance: log })
  app.register(clientAddresses, { trustedProxies: [] })
  return app
}

const SECRET = 'ada@example.com'

function createLog() {
  const lines: string[] = []
  const log = createLogger('trace', { write: (line: string) => lines.push(line) })
  return { log, lines, last: () => JSON.parse(lines.at(-1) ?? '{}') }
}

t.test('a request is logged without its query, headers and body', async (t) => {
  const { log, lines } = createLog()
  const app = loggingApp(log)
  app.post('/users', async (request) => {
    request.log.info({ req: request }, 'request seen')
    request.log.info({ headers: request.headers, body: request.body }, 'by mistake')
    return {}
  })
  await app.inject({
    method: 'POST',
    url: `/users?q=${SECRET}`,
    headers: { authorization: `Bearer ${SECRET}`, cookie: SECRET },
    payload: { email: SECRET }
  })
  const requests = lines.map((line) => JSON.parse(line)).flatMap(({ req }) => req ?? [])
  t.equal(requests.length, 2)
  for (const logged of requests) {
    t.same(Object.keys(logged), ['method', 'url', 'host', 'remoteAddress'])
    t.equal(logged.url, '/users')
  }
  t.match(lines.join(''), '"headers":"[Redacted]","body":"[Redacted]"')
  t.notMatch(lines.join(''), SECRET)
})

t.test('only words of routes and ids of the service are logged from a path', async (t) => {
  const { log, lines } = createLog()
  const app = loggingApp(log)
  const id = '0198c0de-7a51-7cc2-9a3b-5b1d0c4f2e11'
  const known = ['/v1/users/me', `/v1/users/${id}/reset`, '/.well-known/jwks.json', '/', '/docs/']
  for (const path of known) {
    await app.inject(path)
    t.match(lines, [new RegExp(`"url":"${path}"`)], path)
    lines.length = 0
  }
  for (const secret of [
    '123456',
    'ada@example.com',
    'eyJhbGciOiJIUzI1NiJ9.e30.c2ln',
    'ABCD-EFGH'
  ]) {
    await app.inject(`/v1/verify/${secret}/x`)
    t.match(lines[0], '"url":"/v1/verify/*/x"')
    lines.length = 0
  }
})

t.test('a value is redacted if its name is the name of a secret', async (t) => {
  const { log, last } = createLog()
  log.info({ password: SECRET, setupKey: SECRET, stepToken: SECRET, kind: 'totp' }, 'by mistake')
  t.match(last(), { password: '[Redacted]', stepToken: '[Redacted]', kind: 'totp' })
  t.notMatch(JSON.stringify(last()), SECRET)
})

t.test(
  'an error is logged with message, stack, code and causes, without its other properties',
  async (t) => {
    const { log, last } = createLog()
    const cause = Object.assign(new Error('duplicate key'), { detail: `(email)=(${SECRET})` })
    log.error(Object.assign(new Error('refused', { cause }), { code: '23505', row: SECRET }))
    t.match(last().err, { type: 'Error', message: 'refused: duplicate key', code: '23505' })
    t.match(last().err.stack, /logging\.test/)
    t.notMatch(JSON.stringify(last()), SECRET)
    log.error({ err: SECRET }, 'not an error')
    t.same(last().err, { type: 'string' })
  }
)

t.test('an error that quotes the arguments of a call is logged only with its stack', async (t) => {
  const { log, last } = createLog()
  const cause = new Error(`Invalid invocation: { email: "${SECRET}" }`)
  cause.name = 'PrismaClientValidationError'
  log.error(new Error('not stored', { cause }))
  t.match(last().err, { type: 'Error', stack: /^ {4}at / })
  t.notMatch(JSON.stringify(last()), SECRET)
})
