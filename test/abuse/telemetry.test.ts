// S26: the log, the metrics and the traces contain no secret, code, token, password, recovery code or e-mail address. One
// user does everything that users do, including the mistakes that people and front ends make.
import t from 'tap'
import { ON_SERVER, OPERATOR_KEY, PASSWORD } from '../support/app.ts'
import { startCollector } from '../support/collector.ts'
import { startCountingApp } from '../support/scrape.ts'

const collector = await startCollector(t)
const service = await startCountingApp(t, {
  env: { OTEL_EXPORTER_OTLP_ENDPOINT: collector.url }
})
const { app, call, changePolicy, clock, codeAt, createAccount, createUser, enroll } = service
const account = await createAccount()
await changePolicy(account, { trustedDevices: { allowed: true, days: 30 } })
const user = await createUser({ account, email: 'ada.lovelace@example.com', role: 'admin' })

/** Everything that a caller sent or received and that no other person may see. */
const secrets = new Set([PASSWORD, OPERATOR_KEY, account.apiKey, user.email, 'wrong horse battery'])
const SECRET_MEMBERS =
  /"(?:stepToken|accessToken|deviceToken|setupKey|otpauthUri|qrCode|key)":"([^"]+)"/g

async function ask(method: string, path: string, options: Parameters<typeof call>[2] = {}) {
  const answer = await call(method, path, options)
  for (const [, secret = ''] of answer.body.matchAll(SECRET_MEMBERS)) secrets.add(secret)
  const { recoveryCodes = [] } = answer.body.startsWith('{') ? answer.json() : {}
  for (const code of recoveryCodes) secrets.add(code)
  return answer.json()
}

function codeOf(setupKey: string): string {
  clock.advance({ seconds: 30 })
  const code = codeAt(setupKey.replaceAll(' ', ''), clock.now())
  secrets.add(code)
  return code
}

t.test('S26: log, metrics and traces contain no secret', ON_SERVER, async (t) => {
  const credentials = { account: account.slug, email: user.email, password: PASSWORD }
  const signIn = (more: object = {}) =>
    ask('POST', '/v1/login', { body: { ...credentials, ...more } })
  await signIn({ password: 'wrong horse battery' })
  const { accessToken } = await signIn()
  const { authenticatorId, setupKey } = await ask('POST', '/v1/enroll', {
    as: accessToken,
    body: { name: 'Phone', qr: 'svg' }
  })
  const confirmed = await ask('POST', '/v1/enroll/confirm', {
    as: accessToken,
    body: { authenticatorId, code: codeOf(setupKey) }
  })
  const { stepToken } = await signIn()
  const remember = { code: codeOf(setupKey), rememberDevice: true }
  const { deviceToken } = await ask('POST', '/v1/verify', { as: stepToken, body: remember })
  await signIn({ deviceToken })
  const again = await signIn()
  const [recoveryCode] = confirmed.recoveryCodes
  await ask('POST', '/v1/verify', { as: again.stepToken, body: { recoveryCode } })
  const body = { name: 'Host', scopes: ['introspect'] }
  await ask('POST', '/v1/api-keys', { as: account.apiKey, body })

  // Secrets in the wrong place: the path, the query, another header, an invalid body, and an error that quotes the body.
  const [wrongBody] = [`{"password":"${PASSWORD}", "code":`]
  await app.inject({ method: 'GET', url: `/v1/verify/${codeOf(setupKey)}?token=${stepToken}` })
  await app.inject({
    method: 'GET',
    url: `/v1/users?q=${user.email}`,
    headers: { cookie: stepToken }
  })
  const headers = { 'content-type': 'application/json', authorization: `Bearer ${accessToken}` }
  await app.inject({ method: 'POST', url: '/v1/verify', headers, payload: wrongBody })
  await enroll(confirmed.accessToken, { name: 7, setupKey })
  await service.database.prisma.$executeRaw`ALTER TABLE "User" RENAME TO "Users"`
  const fault = await app.inject({ method: 'POST', url: '/v1/login', payload: credentials })
  t.equal(fault.statusCode, 500)

  const metrics = await (await fetch(`http://127.0.0.1:${service.port}/metrics`)).text()
  await app.close()
  const outputs = { log: service.logged.join(''), metrics, traces: collector.received.join('') }
  t.ok(secrets.size >= 20, 'the secrets were collected')
  t.match(outputs.log, '"url":"/v1/login"')
  t.match(outputs.traces, '"POST /v1/login"')
  t.match(outputs.metrics, 'route="/v1/login"')
  for (const [name, text] of Object.entries(outputs)) {
    for (const secret of secrets) t.notOk(holds(text, secret), `${name}: ${secret}`)
  }
})

/** Returns whether the text contains the secret. Any longer number may contain six digits by chance. */
function holds(text: string, secret: string): boolean {
  return /^\d+$/.test(secret)
    ? new RegExp(`(?<![\\d.])${secret}(?!\\d)`).test(text)
    : text.includes(secret)
}
