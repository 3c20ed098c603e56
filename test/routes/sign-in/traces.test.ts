// A refused request of a sign-in leaves a trace with its reason: an audit event, or a log line without values if it is malformed.
import t from 'tap'
import { PASSWORD, startApp } from '../../support/app.ts'

const service = await startApp(t)
const { call, createUser, database, logged } = service
const user = await createUser()
const account = user.account.slug
const { email } = user
const SECRET = 'hunter2-secret'

/** Returns the log line of the last refused request. */
function lastRefusal(): { code: string; route: string; why?: string[] } {
  const lines = logged.map((line) => JSON.parse(line))
  return lines.filter(({ msg }) => msg === 'request refused').at(-1)
}

t.test('400, 413: the log names the malformed part', async (t) => {
  const login = '/v1/login'
  const as = await service.assertedToken(await service.enrolledUser())
  const cases = [
    [login, `{"account": "${SECRET}`, ['FST_ERR_CTP_INVALID_JSON_BODY']],
    [login, { account, email, password: PASSWORD, [SECRET]: 1 }, ['additionalProperties']],
    [login, { account, email }, ['required']],
    [login, { account: SECRET.toUpperCase(), email, password: 'x' }, ['/account pattern']],
    [login, { account, email, password: SECRET.repeat(2000) }, ['FST_ERR_CTP_BODY_TOO_LARGE']],
    ['/v1/login/sso', { account, idToken: SECRET.repeat(8000) }, ['FST_ERR_CTP_BODY_TOO_LARGE']],
    ['/v1/login/sso', { account, idToken: 1 }, ['/idToken type']],
    ['/v1/login/assertion', { firstFactor: SECRET, email }, ['/firstFactor enum']],
    ['/v1/verify', { code: SECRET }, ['/code pattern']]
  ] as const
  for (const [path, body, why] of cases) {
    const { length } = logged
    const credential = path === '/v1/verify' ? as : user.account.apiKey
    await call('POST', path, {
      body,
      headers: { 'content-type': 'application/json' },
      ...(path === login || path === '/v1/login/sso' ? {} : { as: credential })
    })
    t.match(lastRefusal(), { route: path, why }, `${path} ${why}`)
    const lines = logged.slice(length).join('\n').toLowerCase()
    t.notOk(lines.includes(SECRET) || lines.includes(email), `${path} ${why}: no value is logged`)
  }
})

t.test('401: the audit event of a refused password says why', async (t) => {
  const disabled = await createUser()
  await call('PATCH', `/v1/users/${disabled.id}`, {
    as: user.account.apiKey,
    body: { disabled: true }
  })
  for (const [body, why] of [
    [{ account: 'unknown', email, password: PASSWORD }, 'no_account'],
    [{ account, email: 'unknown@example.com', password: PASSWORD }, 'no_user'],
    [{ account, email: disabled.email, password: PASSWORD }, 'disabled'],
    [{ account, email, password: SECRET }, 'password']
  ] as const) {
    const answer = await call('POST', '/v1/login', { body })
    t.equal(answer.statusCode, 401)
    const requestId = String(answer.headers['x-request-id'])
    const [event] = await database.prisma.auditEvent.findMany({ where: { requestId } })
    t.match(event, { type: 'sign_in.password', reason: 'invalid-credentials', details: { why } })
  }
})
