// A policy that is for admins only: whom it binds, counts and notifies.
import t from 'tap'
import { OPERATOR_KEY, startApp, type TestUser } from '../../support/app.ts'
import { isProblem } from '../../support/problems.ts'
import { MAIL_WAITS, mailsTo } from '../../support/records.ts'

const service = await startApp(t, { env: MAIL_WAITS })
const { call, changePolicy, clock, createAccount, createUser, enrolledUser, login } = service

const FOR_ADMINS = { twoFactor: 'required', appliesTo: 'admins' }
const nextOf = async (user: TestUser) => {
  const { status, reason } = (await login(user)).json()
  return `${status} ${reason}`
}
const setRole = (user: TestUser, role: 'admin' | 'member') =>
  call('PATCH', `/v1/users/${user.id}`, { as: user.account.apiKey, body: { role } })
const noticesTo = async (user: TestUser) =>
  (await mailsTo(service, user.email, 'two_factor_required')).length

t.test('200: admins must set up two-factor, and members need not', async (t) => {
  const account = await createAccount()
  const admin = await createUser({ account, role: 'admin' })
  const member = await createUser({ account })
  await changePolicy(account, FOR_ADMINS)
  t.equal(await nextOf(admin), 'enrollment_required account_required')
  t.equal(await nextOf(member), 'authenticated not_required')

  const page = (await call('GET', '/v1/users', { as: account.apiKey })).json()
  t.match(page.items, [
    { id: admin.id, twoFactor: { required: true, reason: 'account_required' } },
    { id: member.id, twoFactor: { required: false, reason: 'not_required' } }
  ])
  const explained = (id: string) => call('GET', `/v1/users/${id}/policy`, { as: account.apiKey })
  const now = clock.now().toISOString()
  t.match((await explained(admin.id)).json(), { required: true, requiredFrom: now })
  t.match((await explained(member.id)).json(), { required: false, requiredFrom: null })
})

t.test('200: a promotion and a demotion count from the next sign-in', async (t) => {
  const account = await createAccount()
  await createUser({ account, role: 'admin' })
  const user = await createUser({ account })
  await changePolicy(account, FOR_ADMINS)
  t.equal(await nextOf(user), 'authenticated not_required')
  await setRole(user, 'admin')
  t.equal(await nextOf(user), 'enrollment_required account_required')
  await setRole(user, 'member')
  t.equal(await nextOf(user), 'authenticated not_required')
})

t.test('204, 409: members may turn two-factor off, and admins may not', async (t) => {
  const account = await createAccount()
  const [admin, member] = [
    await enrolledUser({ account, role: 'admin' }),
    await enrolledUser({ account })
  ]
  await changePolicy(account, FOR_ADMINS)
  const turnOff = async (user: typeof admin) =>
    call('DELETE', '/v1/users/me/two-factor', { as: await user.accessToken() })
  t.equal((await turnOff(member)).statusCode, 204)
  isProblem(t, await turnOff(admin), 409, 'policy-requires-authenticator')
})

t.test('200: a mandate binds everyone, also if the policy is for admins', async (t) => {
  const account = await createAccount()
  const member = await createUser({ account })
  await changePolicy(account, FOR_ADMINS)
  const body = { requiredFrom: clock.now().toISOString() }
  await call('PUT', `/v1/accounts/${account.id}/mandate`, { as: OPERATOR_KEY, body })
  t.equal(await nextOf(member), 'enrollment_required mandated')
  t.equal(await noticesTo(member), 1)
})

t.test('200: a preview counts only the users whom the change would bind', async (t) => {
  const account = await createAccount()
  const admin = await createUser({ account, role: 'admin' })
  await createUser({ account })
  const preview = (body: object) => call('POST', '/v1/policy/preview', { as: account.apiKey, body })
  const { id, email } = admin
  t.match((await preview(FOR_ADMINS)).json(), {
    ...{ wouldEnroll: 1, exempt: 0, unaffected: 1, sample: [{ id, email }] },
    from: clock.now().toISOString()
  })
  t.match((await preview({ ...FOR_ADMINS, appliesTo: 'everyone' })).json(), { wouldEnroll: 2 })
  t.match((await preview({ appliesTo: 'admins' })).json(), { wouldEnroll: 0, from: null })
})

t.test('200: only the users whom a change concerns are notified of it', async (t) => {
  const account = await createAccount()
  const [admin, member] = [
    await createUser({ account, role: 'admin' }),
    await createUser({ account })
  ]
  const told = async () => [await noticesTo(admin), await noticesTo(member)]
  await changePolicy(account, FOR_ADMINS)
  t.same(await told(), [1, 0])
  const [before] = await service.database.prisma.outboxMail.findMany({
    where: { accountId: account.id, recipient: admin.email, kind: 'two_factor_required' }
  })
  clock.advance({ minutes: 1 })
  await changePolicy(account, { appliesTo: 'everyone' })
  t.same(await told(), [1, 1])
  const [after] = await service.database.prisma.outboxMail.findMany({
    where: { accountId: account.id, recipient: admin.email, kind: 'two_factor_required' }
  })
  t.same([after?.id, after?.occurredAt], [before?.id, before?.occurredAt], 'it is the same mail')
  await changePolicy(account, { appliesTo: 'admins' })
  t.same(await told(), [1, 0], 'the mail to the member is outdated')
  await changePolicy(account, { twoFactor: 'optional' })
  t.same(await told(), [0, 0])
})

t.test('200: a policy that binds others revokes the trusted devices', async (t) => {
  const account = await createAccount()
  await changePolicy(account, { ...FOR_ADMINS, trustedDevices: { allowed: true } })
  const user = await enrolledUser({ account })
  const body = { code: user.nextCode(), rememberDevice: true }
  await call('POST', '/v1/verify', { as: await user.stepToken(), body })
  const { trustedDevice } = service.database.prisma
  t.equal(await trustedDevice.count({ where: { userId: user.id } }), 1)
  await changePolicy(account, { appliesTo: 'everyone' })
  t.equal(await trustedDevice.count({ where: { userId: user.id } }), 0)
})
