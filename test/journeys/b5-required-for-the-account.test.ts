// B5: only an admin or the account's own back end makes two-factor required for the whole account.
import t from 'tap'
import { startApp } from '../support/app.ts'
import { isProblem } from '../support/problems.ts'

const service = await startApp(t, { listen: true })
const { call, clock, codeAt, createAccount, createApiKey, createUser, enrolledUser } = service
const { enroll, confirm, login, changePolicy } = service

const REQUIRED = { body: { twoFactor: 'required' }, headers: { 'if-match': '*' } }

t.test('the back end requires two-factor, and the next password leads to the set-up', async (t) => {
  const account = await createAccount()
  const user = await createUser({ account })
  const before = await login(user)
  t.match(before.json(), { status: 'authenticated', reason: 'not_required' })
  t.equal(before.json()['stepToken'], undefined)

  const backEnd = await createApiKey(account, 'policy:write')
  const changed = await call('PATCH', '/v1/policy', { as: backEnd, ...REQUIRED })
  t.equal(changed.statusCode, 200)
  t.match(changed.json(), {
    twoFactor: 'required',
    effective: 'required',
    updatedAt: clock.now().toISOString()
  })

  const after = await login(user)
  t.match(after.json(), { status: 'enrollment_required', reason: 'account_required' })
  t.equal(after.json()['accessToken'], undefined)
  const { stepToken } = after.json()
  const { authenticatorId, setupKey } = (await enroll(stepToken)).json()
  const finished = await confirm(stepToken, authenticatorId, codeAt(setupKey, clock.now()))
  t.match(finished.json(), { status: 'authenticated', reason: 'enrolled' })
  t.match((await login(user)).json(), {
    status: 'verification_required',
    reason: 'account_required'
  })
})

t.test('an admin requires two-factor with a fresh second factor', async (t) => {
  const account = await createAccount()
  const admin = await enrolledUser({ account, role: 'admin' })
  const user = await createUser({ account })
  const accessToken = await admin.accessToken()

  clock.advance({ seconds: 601 })
  const stale = await call('PATCH', '/v1/policy', { as: accessToken, ...REQUIRED })
  t.equal(isProblem(t, stale, 401, 'step-up-required')['next'], 'verify')
  t.equal(
    stale.headers['www-authenticate'],
    'Bearer error="insufficient_user_authentication", acr_values="urn:twostep:acr:2", max_age=600'
  )

  const steppedUp = (await service.verify(accessToken, admin.nextCode())).json().accessToken
  t.equal((await call('PATCH', '/v1/policy', { as: steppedUp, ...REQUIRED })).statusCode, 200)
  t.equal((await login(user)).json().status, 'enrollment_required')
})

t.test('all other callers are refused', async (t) => {
  const account = await createAccount()
  const member = await enrolledUser({ account })
  const adminWithoutCode = await createUser({ account, role: 'admin' })
  const stranger = await createAccount()
  const attempt = async (as: string) => call('PATCH', '/v1/policy', { as, ...REQUIRED })

  isProblem(t, await attempt(await member.accessToken()), 403, 'limited-access')
  const byPassword = await attempt(await service.assertedToken(adminWithoutCode))
  t.equal(isProblem(t, byPassword, 401, 'step-up-required')['next'], 'enroll')
  const reader = await createApiKey(account, 'policy:read', 'users:write')
  isProblem(t, await attempt(reader), 403, 'insufficient-scope')
  t.equal((await attempt(stranger.apiKey)).statusCode, 200, 'the key works in its own account')

  const { body } = await call('GET', '/v1/policy', { as: account.apiKey })
  t.match(JSON.parse(body), { twoFactor: 'optional', effective: 'optional' })
  t.equal((await login(await createUser({ account }))).json().status, 'authenticated')
})

t.test(
  'after two-factor is optional again, users without an authenticator need none',
  async (t) => {
    const account = await createAccount()
    const user = await createUser({ account })
    await changePolicy(account, { twoFactor: 'required' })
    const waiting = (await login(user)).json().stepToken
    await changePolicy(account, { twoFactor: 'optional' })
    t.match((await login(user)).json(), { status: 'authenticated', reason: 'not_required' })
    t.equal(
      (await enroll(waiting)).statusCode,
      201,
      'a user in the middle of the set-up may finish it'
    )
  }
)

t.test('the date and the grace period follow the clock of the server', async (t) => {
  const account = await createAccount()
  const [user, enrolled] = [await createUser({ account }), await enrolledUser({ account })]
  const inDays = (days: number) => new Date(service.clock.now().getTime() + days * 86_400_000)
  const [from, until] = [inDays(2).toISOString(), inDays(5).toISOString()]
  await changePolicy(account, { twoFactor: 'required', requiredFrom: from, graceDays: 3 })
  const enrollment = { recommended: true, requiredFrom: until }
  const met = async () => {
    const { status, reason, enrollment } = (await login(user)).json()
    return { status, reason, enrollment }
  }
  t.same(await met(), { status: 'authenticated', reason: 'not_required', enrollment })
  service.clock.set(inDays(2))
  t.same(await met(), { status: 'authenticated', reason: 'grace_period', enrollment })
  t.match(
    (await login(enrolled)).json(),
    { reason: 'user_enabled' },
    'the grace period is for users without an authenticator'
  )
  const as = await enrolled.accessToken()
  const off = await call('DELETE', '/v1/users/me/two-factor', { as })
  isProblem(t, off, 409, 'policy-requires-authenticator')
  service.clock.set(inDays(3))
  t.match(await met(), { status: 'enrollment_required', reason: 'account_required' })
  t.match((await login(enrolled)).json(), { reason: 'account_required' })
})
