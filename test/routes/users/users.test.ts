import t from 'tap'
import { OPERATOR_KEY, PASSWORD, startApp, type TestUser, UNKNOWN } from '../../support/app.ts'
import { isProblem, pointersOf } from '../../support/problems.ts'

const { call, clock, createAccount, createApiKey, createUser, enrolledUser, login } =
  await startApp(t)

const read = (as: string, id: string) => call('GET', `/v1/users/${id}`, { as })
const change = (as: string, id: string, body: object) =>
  call('PATCH', `/v1/users/${id}`, { as, body })
const remove = (as: string, id: string) => call('DELETE', `/v1/users/${id}`, { as })
const asBackEnd = ({ account }: TestUser) => account.apiKey

t.test('POST /v1/users', async (t) => {
  t.test('201: the user is returned as in the roster, by default as a member', async (t) => {
    const account = await createAccount()
    const body = { email: 'Grace.Hopper@Example.COM', password: PASSWORD, externalId: 'crm-1' }
    const answer = await call('POST', '/v1/users', { as: account.apiKey, body })
    t.equal(answer.statusCode, 201)
    const user = answer.json()
    t.same(user, {
      id: user.id,
      email: 'grace.hopper@example.com',
      role: 'member',
      disabled: false,
      externalId: 'crm-1',
      createdAt: clock.now().toISOString(),
      lastSignInAt: null,
      twoFactor: {
        state: 'disabled',
        since: null,
        lockedUntil: null,
        codesDisabledAt: null,
        authenticators: 0,
        recoveryCodesRemaining: 0,
        required: false,
        requirement: null,
        exempt: false,
        reason: 'not_required'
      }
    })
    t.same((await read(account.apiKey, user.id)).json(), user)
    const email = 'GRACE.HOPPER@EXAMPLE.com'
    t.equal((await login({ account, email, password: PASSWORD })).statusCode, 200)
  })

  t.test('409: an address is used once in an account, in any case, also in a race', async (t) => {
    const [account, other] = [await createAccount(), await createAccount()]
    const create = (as: string, email: string) => call('POST', '/v1/users', { as, body: { email } })
    const raced = await Promise.all(
      ['joan@example.com', 'JOAN@example.com'].map((email) => create(account.apiKey, email))
    )
    t.same(raced.map(({ statusCode }) => statusCode).sort(), [201, 409])
    isProblem(t, await create(account.apiKey, 'Joan@Example.com'), 409, 'email-taken')
    t.equal((await create(other.apiKey, 'joan@example.com')).statusCode, 201)

    const second = await create(account.apiKey, 'jean@example.com')
    const taken = await change(account.apiKey, second.json().id, { email: 'JOAN@example.com' })
    isProblem(t, taken, 409, 'email-taken')
  })

  t.test('422: a weak password is rejected with the reason', async (t) => {
    const account = await createAccount()
    for (const [password, detail] of [
      ['short', /8 characters/],
      ['       ', /8 characters/],
      ['a'.repeat(129), /128 characters/],
      ['aaaaaaaaaa', /repeated/],
      ['Password123', /try first/],
      ['ada.lovelace', /e-mail/],
      ['ADA.LOVELACE@EXAMPLE.COM', /e-mail/]
    ] as const) {
      const body = { email: 'ada.lovelace@example.com', password }
      const answer = await call('POST', '/v1/users', { as: account.apiKey, body })
      t.match(
        isProblem(t, answer, 422, 'weak-password')['detail'],
        detail,
        JSON.stringify(password)
      )
      t.notMatch(answer.body, password, 'the response does not contain the password')
    }
    const { items } = (await call('GET', '/v1/users', { as: account.apiKey })).json()
    t.same(items, [])
  })

  t.test('403: only API keys with users:write create users', async (t) => {
    const account = await createAccount()
    const admin = await enrolledUser({ account, role: 'admin' })
    const reader = await createApiKey(account, 'users:read', 'users:reset')
    for (const as of [reader, await admin.accessToken(), OPERATOR_KEY]) {
      const answer = await call('POST', '/v1/users', { as, body: { email: 'new@example.com' } })
      isProblem(t, answer, 403, 'insufficient-scope')
    }
  })
})

t.test('PATCH and DELETE /v1/users/{userId} by an admin', async (t) => {
  t.test('200, 403: an admin changes only role and disabled of other users', async (t) => {
    const account = await createAccount()
    const admin = await enrolledUser({ account, role: 'admin' })
    const member = await createUser({ account })
    const as = await admin.accessToken()
    t.equal((await change(as, member.id, { role: 'admin' })).json().role, 'admin')
    const both = await change(as, member.id, { role: 'member', disabled: true })
    t.match(both.json(), { role: 'member', disabled: true })
    for (const body of [
      { password: 'twelve drummers drumming' },
      { email: 'taken.over@example.com' },
      { externalId: 'x' },
      { role: 'admin', email: 'taken.over@example.com' }
    ]) {
      isProblem(t, await change(as, member.id, body), 403, 'limited-access')
    }
  })

  t.test('204: an admin deletes another user with everything of that user', async (t) => {
    const account = await createAccount()
    const admin = await enrolledUser({ account, role: 'admin' })
    const member = await enrolledUser({ account })
    const [asAdmin, asMember] = [await admin.accessToken(), await member.accessToken()]
    const deleted = await remove(asAdmin, member.id)
    t.same([deleted.statusCode, deleted.body], [204, ''])
    isProblem(t, await read(asMember, 'me'), 401, 'invalid-credential')
    isProblem(t, await login(member), 401, 'invalid-credentials')
    isProblem(t, await remove(asAdmin, member.id), 404, 'user-not-found')
    const { email } = member
    const reborn = await call('POST', '/v1/users', { as: account.apiKey, body: { email } })
    t.match(reborn.json(), { email, twoFactor: { state: 'disabled', authenticators: 0 } })
    isProblem(t, await remove(asAdmin, 'me'), 403, 'limited-access')
    isProblem(t, await remove(asAdmin, admin.id), 403, 'limited-access')
  })

  t.test('401: an admin needs a fresh second factor', async (t) => {
    const account = await createAccount()
    const admin = await enrolledUser({ account, role: 'admin' })
    const member = await createUser({ account })
    const as = await admin.accessToken()
    clock.advance({ seconds: 601 })
    for (const answer of [
      await change(as, member.id, { role: 'admin' }),
      await remove(as, member.id)
    ]) {
      isProblem(t, answer, 401, 'step-up-required')
    }
  })

  t.test('403: members are refused', async (t) => {
    const account = await createAccount()
    const [member, other] = [await enrolledUser({ account }), await createUser({ account })]
    const as = await member.accessToken()
    isProblem(t, await change(as, other.id, { role: 'admin' }), 403, 'limited-access')
    isProblem(t, await remove(as, other.id), 403, 'limited-access')
    isProblem(t, await remove(as, 'me'), 403, 'limited-access')
  })
})

t.test('403: admins cannot act on themselves with their id in upper case', async (t) => {
  const admin = await enrolledUser({ role: 'admin' })
  const as = await admin.accessToken()
  const inCapitals = admin.id.toUpperCase()
  isProblem(t, await change(as, inCapitals, { role: 'member' }), 403, 'limited-access')
  isProblem(t, await remove(as, inCapitals), 403, 'limited-access')
  t.equal((await read(asBackEnd(admin), inCapitals)).json().id, admin.id)
})

t.test('409: an account keeps its last admin', async (t) => {
  const account = await createAccount()
  const [admin, member] = [
    await createUser({ account, role: 'admin' }),
    await createUser({ account })
  ]
  const as = account.apiKey
  isProblem(t, await change(as, admin.id, { role: 'member' }), 409, 'last-admin')
  isProblem(t, await change(as, admin.id, { disabled: true }), 409, 'last-admin')
  isProblem(t, await remove(as, admin.id), 409, 'last-admin')
  t.equal((await change(as, admin.id, { role: 'admin', externalId: 'x' })).statusCode, 200)

  await change(as, member.id, { role: 'admin' })
  await change(as, member.id, { disabled: true })
  const answer = await change(as, admin.id, { role: 'member' })
  isProblem(t, answer, 409, 'last-admin')
  await change(as, member.id, { disabled: false })
  t.equal((await change(as, admin.id, { role: 'member' })).statusCode, 200)
})

t.test('409: one of two admins who demote each other concurrently stays an admin', async (t) => {
  for (const act of [
    (as: string, id: string) => change(as, id, { role: 'member' }),
    (as: string, id: string) => change(as, id, { disabled: true }),
    (as: string, id: string) => remove(as, id)
  ]) {
    const account = await createAccount()
    const [one, two] = [
      await enrolledUser({ account, role: 'admin' }),
      await enrolledUser({ account, role: 'admin' })
    ]
    const [asOne, asTwo] = [await one.accessToken(), await two.accessToken()]
    const answers = await Promise.all([act(asOne, two.id), act(asTwo, one.id)])
    const statuses = answers.map(({ statusCode }) => statusCode).sort()
    t.ok((statuses[0] ?? 0) < 300, 'one succeeds')
    // 409 while the caller is still an admin. After the other request, the caller is no admin, or has been deleted.
    t.ok([401, 403, 409].includes(statuses[1] ?? 0), `the other is refused: ${statuses}`)
    const { items } = (await call('GET', '/v1/users', { as: account.apiKey })).json()
    const left = items.filter(
      ({ role, disabled }: { role: string; disabled: boolean }) => role === 'admin' && !disabled
    )
    t.equal(left.length, 1)
  }
})

t.test('409: exactly one of two concurrent demotions by the back end succeeds', async (t) => {
  const account = await createAccount()
  const admins = [
    await createUser({ account, role: 'admin' }),
    await createUser({ account, role: 'admin' })
  ]
  const answers = await Promise.all(
    admins.map(({ id }) => change(account.apiKey, id, { role: 'member' }))
  )
  t.same(answers.map(({ statusCode }) => statusCode).sort(), [200, 409])
})

t.test(
  '400: the credential is checked before the body, and the body before the user',
  async (t) => {
    const user = await createUser()
    const bad = { body: { role: 'owner' } }
    isProblem(t, await call('PATCH', `/v1/users/${user.id}`, bad), 401, 'invalid-credential')
    const reader = await createApiKey(user.account, 'users:read')
    const unscoped = await call('PATCH', `/v1/users/${user.id}`, { as: reader, ...bad })
    isProblem(t, unscoped, 403, 'insufficient-scope')
    const answer = await call('PATCH', `/v1/users/${UNKNOWN}`, { as: asBackEnd(user), ...bad })
    t.same(
      pointersOf(isProblem(t, answer, 400, 'invalid-request')),
      ['/role'],
      'and 400 before 404'
    )
  }
)
