import { decodeJwt } from 'jose'
import t, { type Test } from 'tap'
import { OPERATOR_KEY, PASSWORD, startApp, type TestAccount, UNKNOWN } from '../../support/app.ts'
import { isProblem, pointersOf, tellTales } from '../../support/problems.ts'

const service = await startApp(t)
const { call, changePolicy, clock, createAccount, createApiKey, createUser, login } = service
const { assertedToken, enrolled, enrolledUser } = service

t.test('POST /v1/login', async (t) => {
  t.test('200: the sign-in needs one factor if no second one is required', async (t) => {
    const user = await createUser()
    const answer = await login(user)
    t.equal(answer.headers['cache-control'], 'no-store')
    const { accessToken, ...rest } = answer.json()
    t.same(rest, {
      status: 'authenticated',
      reason: 'not_required',
      tokenType: 'Bearer',
      expiresIn: 900,
      user: { id: user.id, accountId: user.account.id, email: user.email, role: 'member' }
    })
    t.match(decodeJwt(accessToken), { amr: ['pwd'], acr: 'urn:twostep:acr:1' })
  })

  t.test('200: the case of the e-mail address is ignored', async (t) => {
    const user = await createUser({ email: 'Case.Mixed@Example.com' })
    for (const email of ['case.mixed@example.com', 'CASE.MIXED@EXAMPLE.COM']) {
      t.equal((await login({ ...user, email })).statusCode, 200, email)
    }
  })

  t.test('200: composed and decomposed accents in a password are equal', async (t) => {
    const account = await createAccount()
    const email = 'zoe@example.com'
    const password = 'cafe\u0301 au lait, s\u2019il vous plai\u0302t'
    await call('POST', '/v1/users', { as: account.apiKey, body: { email, password } })
    for (const form of ['NFC', 'NFD'] as const) {
      const answer = await login({ account, email, password: password.normalize(form) })
      t.equal(answer.statusCode, 200, form)
    }
  })

  t.test('200: an unknown device token is ignored', async (t) => {
    const { account, email, password } = await createUser()
    const body = { account: account.slug, email, password, deviceToken: 'made up' }
    t.equal((await call('POST', '/v1/login', { body })).json().status, 'authenticated')
  })

  t.test(
    '401: an unknown account or user, a wrong password and a disabled user look the same',
    async (t) => {
      const user = await createUser()
      const disabled = await createUser()
      const path = `/v1/users/${disabled.id}`
      await call('PATCH', path, { as: user.account.apiKey, body: { disabled: true } })
      const withoutPassword = { email: 'no.password@example.com' }
      await call('POST', '/v1/users', { as: user.account.apiKey, body: withoutPassword })
      const other = await createAccount()
      const refused = [
        await login({ ...user, account: { ...user.account, slug: 'nobody-here' } }),
        await login({ ...user, account: other }),
        await login({ ...user, email: 'unknown@example.com' }),
        await login({ ...user, password: `${PASSWORD}.` }),
        await login({ ...user, password: PASSWORD.toUpperCase() }),
        await login(disabled),
        await login({ ...user, ...withoutPassword })
      ]
      for (const answer of refused) isProblem(t, answer, 401, 'invalid-credentials')
      const [first, ...others] = refused.map(tellTales)
      for (const one of others) t.same(one, first)
      t.equal(first?.headers['www-authenticate'], 'Bearer')
    }
  )
})

t.test('POST /v1/login/assertion', async (t) => {
  const assert = (as: string, body: object) =>
    call('POST', '/v1/login/assertion', { as, body: { firstFactor: 'pwd', ...body } })

  t.test(
    '200: an assertion names the user by id or by address, and continues like a password',
    async (t) => {
      const account = await createAccount()
      const user = await createUser({ account })
      const as = await createApiKey(account, 'login:assert')
      for (const who of [{ userId: user.id }, { email: user.email.toUpperCase() }]) {
        const answer = await assert(as, who)
        t.equal(answer.headers['cache-control'], 'no-store')
        t.match(answer.json(), {
          status: 'authenticated',
          reason: 'not_required',
          user: { id: user.id }
        })
        const claims = decodeJwt(answer.json().accessToken)
        t.match(claims, { amr: ['pwd'], acr: 'urn:twostep:acr:1', sub: user.id })
      }
      await changePolicy(account, { twoFactor: 'required' })
      t.match((await assert(as, { userId: user.id })).json(), {
        status: 'enrollment_required',
        reason: 'account_required'
      })
      const { id: userId } = await enrolled(user)
      t.match((await assert(as, { userId })).json(), {
        status: 'verification_required',
        reason: 'account_required'
      })
    }
  )

  t.test('200: an assertion works for users without a password', async (t) => {
    const account = await createAccount()
    const email = 'host.keeps.it@example.com'
    await call('POST', '/v1/users', { as: account.apiKey, body: { email } })
    t.equal((await assert(account.apiKey, { email })).json().status, 'authenticated')
  })

  t.test('403: each first factor requires its own scope', async (t) => {
    const account = await createAccount()
    const { id: userId } = await createUser({ account })
    const [pwd, sso, none] = [
      await createApiKey(account, 'login:assert'),
      await createApiKey(account, 'login:assert-sso'),
      await createApiKey(account, 'users:write', 'users:read')
    ]
    const bySso = { userId, firstFactor: 'sso' }
    isProblem(t, await assert(pwd, bySso), 403, 'insufficient-scope')
    isProblem(t, await assert(sso, { userId }), 403, 'insufficient-scope')
    isProblem(t, await assert(none, { userId }), 403, 'insufficient-scope')
    isProblem(t, await assert(sso, bySso), 403, 'sso-not-enabled')
    const person = await assertedToken(await createUser({ account }))
    for (const as of [person, OPERATOR_KEY]) {
      isProblem(t, await assert(as, { userId }), 403, 'insufficient-scope')
    }
  })

  t.test(
    '404: an unknown, a disabled and another account’s user get the same response',
    async (t) => {
      const [own, other] = [await createAccount(), await createAccount()]
      const as = own.apiKey
      const foreigner = await createUser({ account: other })
      const disabled = await createUser({ account: own })
      await call('PATCH', `/v1/users/${disabled.id}`, { as, body: { disabled: true } })
      const refused = await Promise.all(
        [
          { userId: UNKNOWN },
          { userId: foreigner.id },
          { userId: disabled.id },
          { email: 'unknown@example.com' },
          { email: foreigner.email },
          { email: disabled.email },
          { userId: UNKNOWN, firstFactor: 'sso' }
        ].map((who) => assert(as, who))
      )
      for (const answer of refused) isProblem(t, answer, 404, 'user-not-found')
      const [first, ...others] = refused.map(tellTales)
      for (const one of others) t.same(one, first)
    }
  )

  t.test('400: exactly one of userId and email is required', async (t) => {
    const user = await createUser()
    const as = user.account.apiKey
    for (const who of [{}, { userId: user.id, email: user.email }, { userId: 'me' }]) {
      isProblem(t, await assert(as, who), 400, 'invalid-request')
    }
    const without = { as, body: { userId: user.id } }
    const answer = await call('POST', '/v1/login/assertion', without)
    t.same(pointersOf(isProblem(t, answer, 400, 'invalid-request')), ['/firstFactor'])
  })

  t.test('400: a back end cannot assert a second factor', async (t) => {
    const user = await enrolledUser()
    const as = user.account.apiKey
    t.equal((await assert(as, { userId: user.id })).json().status, 'verification_required')
    const body = { userId: user.id, firstFactor: 'mfa' }
    const answer = await call('POST', '/v1/login/assertion', { as, body })
    t.same(pointersOf(isProblem(t, answer, 400, 'invalid-request')), ['/firstFactor'])
  })
})

t.test('POST /v1/introspect', async (t) => {
  const introspect = (as: string, token: string) =>
    call('POST', '/v1/introspect', { as, body: { token } })
  const isInactive = async (t: Test, account: TestAccount, token: string) =>
    t.same((await introspect(account.apiKey, token)).json(), { active: false })

  t.test(
    '200: introspection takes JSON or a form, and returns the current state of a token',
    async (t) => {
      const user = await enrolledUser()
      const { account } = user
      const token = await user.accessToken()
      const as = await createApiKey(account, 'introspect')
      const answer = await introspect(as, token)
      t.equal(answer.headers['cache-control'], 'no-store')
      t.match(answer.json(), {
        active: true,
        token_type: 'Bearer',
        username: user.email,
        ...decodeJwt(token)
      })
      const form = new URLSearchParams({ token, token_type_hint: 'access_token' }).toString()
      const headers = { 'content-type': 'application/x-www-form-urlencoded' }
      const asForm = await call('POST', '/v1/introspect', { as, body: form, headers })
      t.same(asForm.json(), answer.json())
    }
  )

  t.test('200: every invalid token is inactive, without further members', async (t) => {
    const user = await enrolledUser()
    const { account } = user
    const token = await user.accessToken()
    const stranger = await createAccount()
    await isInactive(t, stranger, token)
    await isInactive(t, account, await user.stepToken())
    await isInactive(t, account, account.apiKey)
    await isInactive(t, account, `${token.slice(0, -4)}AAAA`)
    await isInactive(t, account, 'not a token')
    const path = `/v1/users/${user.id}`
    await call('PATCH', path, { as: account.apiKey, body: { disabled: true } })
    await isInactive(t, account, token)
    await call('PATCH', path, { as: account.apiKey, body: { disabled: false } })
    await isInactive(t, account, token)
    const expiring = await user.accessToken()
    clock.advance({ minutes: 15 })
    await isInactive(t, account, expiring)
  })

  t.test('403: only keys with introspect may introspect', async (t) => {
    const user = await enrolledUser()
    const token = await user.accessToken()
    const reader = await createApiKey(user.account, 'users:read')
    for (const as of [reader, token, OPERATOR_KEY]) {
      isProblem(t, await introspect(as, token), 403, 'insufficient-scope')
    }
  })
})
