import t from 'tap'
import { OPERATOR_KEY, PASSWORD, startApp, type TestUser } from '../../support/app.ts'
import { tally } from '../../support/guesses.ts'
import { isProblem, pointersOf } from '../../support/problems.ts'

const service = await startApp(t)
const { assertedToken, call, clock, createAccount, createApiKey, createUser, enrolledUser } =
  service
const { login, verify } = service

const ANOTHER_PASSWORD = 'twelve drummers drumming'

const read = (as: string, id: string) => call('GET', `/v1/users/${id}`, { as })
const change = (as: string, id: string, body: object) =>
  call('PATCH', `/v1/users/${id}`, { as, body })
const remove = (as: string, id: string) => call('DELETE', `/v1/users/${id}`, { as })
const asBackEnd = ({ account }: TestUser) => account.apiKey

t.test('PATCH /v1/users/{userId} by an API key', async (t) => {
  t.test('200: an API key changes every field, and only the named ones', async (t) => {
    const user = await createUser()
    const as = await createApiKey(user.account, 'users:write', 'admins:write')
    const before = (await read(asBackEnd(user), user.id)).json()
    for (const body of [
      { email: 'renamed@example.com' },
      { disabled: true },
      { disabled: false },
      { externalId: 'crm-2' },
      { externalId: null },
      { role: 'admin', externalId: 'crm-3' }
    ]) {
      const answer = await change(as, user.id, body)
      t.equal(answer.statusCode, 200)
      t.same(answer.json(), Object.assign(before, body))
    }
  })

  t.test('200: a new password replaces the old one and revokes earlier tokens', async (t) => {
    const user = await enrolledUser()
    const [accessToken, stepToken] = [await user.accessToken(), await user.stepToken()]
    const changed = await change(asBackEnd(user), user.id, { password: ANOTHER_PASSWORD })
    t.equal(changed.statusCode, 200)
    isProblem(t, await read(accessToken, 'me'), 401, 'invalid-credential')
    isProblem(t, await verify(stepToken, user.nextCode()), 401, 'invalid-credential')
    isProblem(t, await login(user), 401, 'invalid-credentials')
    const { status } = (await login({ ...user, password: ANOTHER_PASSWORD })).json()
    t.equal(status, 'verification_required', 'the authenticator stays')
  })

  t.test('200: disabling revokes all tokens immediately, and enabling restores none', async (t) => {
    const user = await enrolledUser()
    const [accessToken, stepToken] = [await user.accessToken(), await user.stepToken()]
    t.equal((await change(asBackEnd(user), user.id, { disabled: true })).json().disabled, true)
    isProblem(t, await read(accessToken, 'me'), 401, 'invalid-credential')
    isProblem(t, await verify(stepToken, user.nextCode()), 401, 'invalid-credential')
    isProblem(t, await login(user), 401, 'invalid-credentials')

    t.equal((await change(asBackEnd(user), user.id, { disabled: false })).json().disabled, false)
    isProblem(t, await read(accessToken, 'me'), 401, 'invalid-credential')
    isProblem(t, await verify(stepToken, user.nextCode()), 401, 'invalid-credential')
    t.equal((await login(user)).json().status, 'verification_required')
  })

  t.test('200: a new address or role applies immediately, and tokens stay valid', async (t) => {
    const account = await createAccount()
    const admin = await createUser({ account, role: 'admin' })
    await createUser({ account, role: 'admin' })
    const as = await assertedToken(admin)
    await change(account.apiKey, admin.id, { email: 'new.name@example.com' })
    t.equal((await read(as, 'me')).json().email, 'new.name@example.com')
    await change(account.apiKey, admin.id, { role: 'member' })
    isProblem(t, await call('GET', '/v1/users', { as }), 403, 'limited-access')
  })

  t.test('403: keys without users:write and the operator are refused', async (t) => {
    const user = await createUser()
    const reader = await createApiKey(user.account, 'users:read', 'keys:write')
    for (const as of [reader, OPERATOR_KEY]) {
      isProblem(t, await change(as, user.id, { role: 'admin' }), 403, 'insufficient-scope')
      isProblem(t, await remove(as, user.id), 403, 'insufficient-scope')
    }
  })

  t.test('400: currentPassword is only for users', async (t) => {
    const user = await createUser()
    const body = { password: ANOTHER_PASSWORD, currentPassword: PASSWORD }
    const answer = await change(asBackEnd(user), user.id, body)
    t.same(pointersOf(isProblem(t, answer, 400, 'invalid-request')), ['/currentPassword'])
    t.equal((await login(user)).statusCode, 200, 'nothing has changed')
  })
})

t.test('PATCH /v1/users/{userId} by the user', async (t) => {
  t.test(
    '200: a user changes the password with the current one and a fresh second factor',
    async (t) => {
      const user = await enrolledUser()
      const as = await user.accessToken()
      const body = { password: ANOTHER_PASSWORD, currentPassword: PASSWORD }
      const { statusCode, headers } = await change(as, 'me', body)
      t.same([statusCode, headers['cache-control']], [200, 'no-store'])
      isProblem(t, await read(as, 'me'), 401, 'invalid-credential')
      isProblem(t, await login(user), 401, 'invalid-credentials')
      t.equal((await login({ ...user, password: ANOTHER_PASSWORD })).statusCode, 200)
    }
  )

  t.test(
    '401 or 422: one of two concurrent changes with the same current password succeeds',
    async (t) => {
      const user = await enrolledUser()
      const as = await user.accessToken()
      const passwords = ['a first new pass phrase', 'a second new pass phrase']
      const changes = passwords.map((password) =>
        change(as, 'me', { password, currentPassword: PASSWORD })
      )
      const answers = await Promise.all(changes)
      const [done, refused] = Object.keys(tally(answers)).sort()
      t.equal(done, '200')
      // The first change revokes the token and replaces the password. The second one may meet either.
      t.match(refused, /^(401 invalid-credential|422 password-rejected)$/)
      const password = passwords[answers.findIndex(({ statusCode }) => statusCode === 200)] ?? ''
      t.equal((await login({ ...user, password })).statusCode, 200)
    }
  )

  t.test('401: one factor or a second factor from eleven minutes ago is not enough', async (t) => {
    const body = { password: ANOTHER_PASSWORD, currentPassword: PASSWORD }
    const withoutApp = await createUser()
    const byPassword = await assertedToken(withoutApp)
    const first = isProblem(t, await change(byPassword, 'me', body), 401, 'step-up-required')
    t.equal(first['next'], 'enroll', 'there is no second factor yet')
    clock.advance({ seconds: 601 })
    const later = isProblem(t, await change(byPassword, 'me', body), 401, 'step-up-required')
    t.equal(later['next'], 'login', 'and the password is too old for a set-up')

    const user = await enrolledUser()
    const as = await user.accessToken()
    clock.advance({ seconds: 601 })
    const stale = await change(as, 'me', body)
    t.equal(isProblem(t, stale, 401, 'step-up-required')['next'], 'verify')
    t.match(stale.headers['www-authenticate'], /insufficient_user_authentication.*max_age=600/)
    t.equal((await login(user)).statusCode, 200, 'nothing has changed')
  })

  t.test('422, 400: a wrong and a missing current password are rejected', async (t) => {
    const user = await enrolledUser()
    const as = await user.accessToken()
    const wrong = { password: ANOTHER_PASSWORD, currentPassword: 'not the current one' }
    const rejected = await change(as, 'me', wrong)
    isProblem(t, rejected, 422, 'password-rejected')
    t.equal(rejected.headers['www-authenticate'], undefined, 'the credential is valid')
    const missing = await change(as, 'me', { password: ANOTHER_PASSWORD })
    t.same(pointersOf(isProblem(t, missing, 400, 'invalid-request')), ['/currentPassword'])
    const weak = { password: 'password', currentPassword: PASSWORD }
    isProblem(t, await change(as, 'me', weak), 422, 'weak-password')
    t.equal((await read(as, 'me')).statusCode, 200)
  })

  t.test('403: users change nothing else of themselves, as a member or as an admin', async (t) => {
    const account = await createAccount()
    for (const role of ['member', 'admin'] as const) {
      const user = await enrolledUser({ account, role })
      const as = await user.accessToken()
      for (const body of [
        { role: 'admin' },
        { role: 'member' },
        { disabled: true },
        { email: 'other@example.com' },
        { externalId: 'x' },
        { password: ANOTHER_PASSWORD, currentPassword: PASSWORD, role: 'admin' }
      ]) {
        isProblem(t, await change(as, user.id, body), 403, 'limited-access')
      }
      t.match((await read(as, 'me')).json(), { role, email: user.email, disabled: false })
    }
  })
})
