// Which passwords a user can get, by all routes that set one.
import t from 'tap'
import { PASSWORD, startApp, type TestAccount } from '../../support/app.ts'
import { openTestDatabase } from '../../support/database.ts'
import { isProblem } from '../../support/problems.ts'

const database = await openTestDatabase(t)
const service = await startApp(t, { database })
/** The same service, whose operator demands 15 characters of a password that is the only factor. */
const strict = await startApp(t, {
  database,
  clock: service.clock,
  env: { PASSWORD_MIN_LENGTH_ALONE: '15' }
})
const FOURTEEN = 'quietly tender'

let made = 0
function create({ call }: typeof service, account: TestAccount, password: string, role = 'member') {
  made += 1
  const body = { email: `grace.hopper${made}@navy.example`, password, role }
  return call('POST', '/v1/users', { as: account.apiKey, body })
}

t.test('S6: 422: a password that attackers try first is rejected', async (t) => {
  const account = await service.createAccount({ slug: 'globex', name: 'Globex Corporation' })
  for (const [password, detail] of [
    ['sunshine', /try first/],
    ['ＳＵＮＳＨＩＮＥ', /try first/],
    ['1qaz2wsx', /try first/],
    ['globex2026', /a name of the user, the account or the service/],
    ['Corporation1', /a name of the user/],
    ['gracehopper99', /a name of the user/],
    ['twostep.2026', /a name of the user/]
  ] as const) {
    const answer = await create(service, account, password)
    t.match(isProblem(t, answer, 422, 'weak-password')['detail'], detail, password)
    t.notMatch(answer.body, password, 'the response does not contain the password')
  }
  const { id } = (await create(service, account, PASSWORD)).json()
  const changed = await service.call('PATCH', `/v1/users/${id}`, {
    as: account.apiKey,
    body: { password: 'Globex!2026' }
  })
  isProblem(t, changed, 422, 'weak-password')
})

t.test('201: by default, eight characters are enough for every user', async (t) => {
  const account = await service.createAccount()
  t.equal((await create(service, account, FOURTEEN)).statusCode, 201)
})

t.test('422: a password that is the only factor needs the length of the setting', async (t) => {
  const account = await service.createAccount()
  const rejected = await create(strict, account, FOURTEEN)
  t.match(isProblem(t, rejected, 422, 'weak-password')['detail'], /at least 15 characters/)
  t.equal((await create(strict, account, `${FOURTEEN}!`)).statusCode, 201)

  const enrolled = await service.enrolledUser({ account })
  const change = (id: string) =>
    strict.call('PATCH', `/v1/users/${id}`, { as: account.apiKey, body: { password: FOURTEEN } })
  t.equal((await change(enrolled.id)).statusCode, 200, 'the user has an authenticator')
  const other = await service.createUser({ account })
  isProblem(t, await change(other.id), 422, 'weak-password')
  const path = `/v1/users/${other.id}/two-factor`
  await service.call('PUT', path, { as: account.apiKey, body: { required: true } })
  t.equal((await change(other.id)).statusCode, 200, 'the user needs a second factor')

  await service.changePolicy(account, { twoFactor: 'required', appliesTo: 'admins' })
  isProblem(t, await create(strict, account, FOURTEEN), 422, 'weak-password')
  t.equal((await create(strict, account, FOURTEEN, 'admin')).statusCode, 201)
})
