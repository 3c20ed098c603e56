// B13: a trusted device skips the code where the account allows it.
import { decodeJwt } from 'jose'
import t from 'tap'
import { type EnrolledUser, OPERATOR_KEY, type TestUser } from '../support/app.ts'
import type { Answer } from '../support/calls.ts'
import { wrongCode } from '../support/guesses.ts'
import { isProblem } from '../support/problems.ts'
import { eventsAbout } from '../support/records.ts'
import { ALLOWED, DAYS, isAsked, isTrusted, startWithDevices } from './trusted-devices.ts'

const service = await startWithDevices(t)
const { allowing, assert, call, changePolicy, clock, confirm, createAccount, devicesOf } = service
const { enroll, enrolledUser, login, plantDevice, remember, userWithDevice } = service

t.test('a device that was trusted with a code signs in with only the password', async (t) => {
  const user = await enrolledUser({ account: allowing })
  const { stepToken } = (await login(user)).json()
  const remembered = (await remember(user, stepToken)).json()
  const expiresAt = new Date(clock.now().getTime() + DAYS * 86_400_000).toISOString()
  t.match(remembered, { status: 'authenticated', reason: 'code_verified' })
  t.equal(remembered.deviceTokenExpiresAt, expiresAt)
  t.match(decodeJwt(remembered.accessToken), { acr: 'urn:twostep:acr:2' })

  clock.advance({ minutes: 24 * 60 })
  const answer = await login(user, remembered.deviceToken)
  const next = isTrusted(t, answer)
  t.not(next, remembered.deviceToken, 'every use replaces the token')
  t.equal(answer.json().deviceTokenExpiresAt, expiresAt, 'a use does not extend the trust')
  t.match(decodeJwt(answer.json().accessToken), { acr: 'urn:twostep:acr:1' })
  t.same(decodeJwt(answer.json().accessToken)['amr'], ['pwd'])

  const [device] = await devicesOf(user)
  t.match(await eventsAbout(service, user.id).then((events) => events.slice(-2)), [
    { type: 'sign_in.code', details: { authenticatorId: /./, deviceId: device?.id } },
    {
      type: 'sign_in.password',
      outcome: 'succeeded',
      actor: { kind: 'user', id: user.id, credential: 'password' },
      details: { next: 'authenticated', why: 'trusted_device', deviceId: device?.id }
    }
  ])
  const as = answer.json().accessToken
  const listed = (await call('GET', '/v1/users/me/devices', { as })).json()
  const lastUsedAt = clock.now().toISOString()
  t.match(listed, { items: [{ id: device?.id, expiresAt, lastUsedAt }] })
  t.equal((await call('GET', '/v1/users/me', { as })).json().lastSignInAt, lastUsedAt)

  isTrusted(t, await assert(user, next))
  isAsked(t, await login(user), 'other browsers need a code')
  isProblem(t, await login({ ...user, password: 'wrong horse' }, next), 401, 'invalid-credentials')
})

t.test('a trusted device is no second factor: a sensitive act still requires a code', async (t) => {
  const { user, token } = await userWithDevice({ role: 'admin' })
  const trusted = await assert(user, token)
  isTrusted(t, trusted)
  const as = trusted.json().accessToken
  const change = { body: {}, headers: { 'if-match': '*' } }
  const refused = await call('PATCH', '/v1/policy', { as, ...change })
  t.match(isProblem(t, refused, 401, 'step-up-required'), { next: 'verify' })
  const steppedUp = (await remember(user, as)).json()
  t.equal(
    (await call('PATCH', '/v1/policy', { as: steppedUp.accessToken, ...change })).statusCode,
    200
  )
  isTrusted(t, await assert(user, steppedUp.deviceToken))
})

t.test('a device can be trusted with a recovery code too', async (t) => {
  const user = await enrolledUser({ account: allowing })
  const body = { recoveryCode: user.recoveryCodes[0], rememberDevice: true }
  const answer = (await call('POST', '/v1/verify', { as: await user.stepToken(), body })).json()
  t.equal(answer.recoveryCodesRemaining, 9)
  isTrusted(t, await assert(user, answer.deviceToken))
  const [device] = await devicesOf(user)
  t.match((await eventsAbout(service, user.id)).at(-2), {
    type: 'sign_in.recovery_code',
    details: { deviceId: device?.id }
  })
})

t.test('a device is trusted only on request, and never with a wrong code', async (t) => {
  const user = await enrolledUser({ account: allowing })
  const bodies = [{ code: user.nextCode() }, { code: user.nextCode(), rememberDevice: false }]
  for (const body of bodies) {
    const answer = await call('POST', '/v1/verify', { as: await user.stepToken(), body })
    t.equal(answer.json().deviceToken, undefined)
  }
  const wrong = { code: wrongCode(user, clock.now()), rememberDevice: true }
  const refused = await call('POST', '/v1/verify', { as: await user.stepToken(), body: wrong })
  isProblem(t, refused, 422, 'code-rejected')
  t.same(await devicesOf(user), [])
})

t.test(
  'an account that does not allow trusted devices neither creates nor accepts them',
  async (t) => {
    const account = await createAccount()
    const user = await enrolledUser({ account })
    const answer = (await remember(user)).json()
    t.match(answer, { status: 'authenticated' })
    t.same([answer.deviceToken, answer.deviceTokenExpiresAt], [undefined, undefined])
    t.same(await devicesOf(user), [])
    const token = await plantDevice(user)
    isAsked(t, await login(user, token))
    t.match(
      await devicesOf(user),
      [{ generation: 1, lastUsedAt: null }],
      'the token is not even judged'
    )
  }
)

t.test('a mandate requires two-factor and leaves trusted devices valid', async (t) => {
  const account = await createAccount()
  await changePolicy(account, { twoFactor: 'required', ...ALLOWED })
  const body = { requiredFrom: clock.now().toISOString() }
  await call('PUT', `/v1/accounts/${account.id}/mandate`, { as: OPERATOR_KEY, body })
  const { user, token } = await userWithDevice({ account })
  isTrusted(t, await login(user, token))
})

t.test('403: an account that requires single sign-on accepts no trusted device', async (t) => {
  const account = await createAccount()
  await changePolicy(account, ALLOWED)
  const { user, token } = await userWithDevice({ account })
  const as = await user.accessToken()
  const sso = { mode: 'required', issuer: 'https://id.example.com', clientId: 'acme' }
  await changePolicy(account, { sso })
  isProblem(t, await login(user, token), 403, 'sso-required')
  isProblem(t, await assert(user, token), 403, 'sso-required')
  isProblem(t, await remember(user, as), 401, 'step-up-required')
})

t.test('the eleventh trusted device replaces the oldest one', async (t) => {
  const { user, token: first } = await userWithDevice()
  clock.advance({ seconds: 30 })
  const second = (await remember(user)).json().deviceToken
  for (let device = 3; device <= 10; device += 1) await remember(user)
  const used = isTrusted(t, await assert(user, first))
  t.equal((await devicesOf(user)).length, 10)
  const eleventh = (await remember(user)).json().deviceToken
  t.equal((await devicesOf(user)).length, 10)
  isAsked(t, await assert(user, used))
  isTrusted(t, await assert(user, second))
  isTrusted(t, await assert(user, eleventh))
})

t.test(
  'devices are revoked when the conditions change under which they were trusted',
  async (t) => {
    const ends: [string, (user: EnrolledUser) => Promise<unknown>][] = [
      ['revoked by the user', async (user) => revokeAll(user, await user.accessToken(), 'me')],
      [
        'revoked by an admin',
        async (user) => {
          const admin = await enrolledUser({ account: user.account, role: 'admin' })
          await revokeAll(user, await admin.accessToken(), user.id)
        }
      ],
      [
        'reset',
        async (user) => {
          await asBackEnd(user, 'POST', `/v1/users/${user.id}/reset`)
          return service.enrolled(user)
        }
      ],
      [
        'turned off, and on again',
        async (user) => {
          await call('DELETE', '/v1/users/me/two-factor', { as: await user.accessToken() })
          return service.enrolled(user)
        }
      ],
      ['a new password', (user) => change(user, { password: 'another horse, another battery' })],
      [
        'disabled, and enabled again',
        async (user) => {
          await change(user, { disabled: true })
          await change(user, { disabled: false })
        }
      ],
      ['an authenticator replaced', (user) => addApp(user, { replaces: user.authenticatorId })],
      ['one of two authenticators removed', removeOneOfTwo],
      ['devices forbidden, and allowed again', forbidAndAllow],
      [
        'another number of days',
        ({ account }) => changePolicy(account, { trustedDevices: { days: DAYS + 1 } })
      ],
      ['required for all users', ({ account }) => changePolicy(account, { twoFactor: 'required' })]
    ]
    for (const [what, end] of ends) {
      const account = await createAccount()
      await changePolicy(account, ALLOWED)
      const { user, token } = await userWithDevice({ account })
      const next = isTrusted(t, await assert(user, token))
      await end(user)
      t.same(await devicesOf(user), [], what)
      isAsked(t, await assert(user, next), what)
    }
  }
)

t.test('devices stay trusted after changes that do not weaken the account', async (t) => {
  const account = await createAccount()
  await changePolicy(account, ALLOWED)
  const { user, token } = await userWithDevice({ account })
  await addApp(user, { name: 'Tablet' })
  await change(user, { role: 'admin' })
  await changePolicy(account, { graceDays: 3, ...ALLOWED })
  const as = await user.accessToken()
  await call('POST', '/v1/users/me/recovery-codes', { as })
  isTrusted(t, await assert(user, token))
})

async function addApp(user: EnrolledUser, body: object) {
  const as = await user.accessToken()
  const { authenticatorId, setupKey } = (await enroll(as, body)).json()
  const confirmed = await confirm(as, authenticatorId, service.codeAt(setupKey, clock.now()))
  return { authenticatorId, as: confirmed.json().accessToken as string }
}

async function removeOneOfTwo(user: EnrolledUser) {
  const { authenticatorId, as } = await addApp(user, { name: 'Tablet' })
  await call('DELETE', `/v1/users/me/authenticators/${authenticatorId}`, { as })
}

async function forbidAndAllow({ account }: TestUser) {
  await changePolicy(account, { trustedDevices: { allowed: false } })
  await changePolicy(account, ALLOWED)
}

async function revokeAll(user: TestUser, as: string, userId: string) {
  for (const { id } of await devicesOf(user)) {
    await call('DELETE', `/v1/users/${userId}/devices/${id}`, { as })
  }
}

function asBackEnd({ account }: TestUser, method: string, path: string, body?: object) {
  return call(method, path, { as: account.apiKey, body })
}

function change(user: TestUser, body: object): Promise<Answer> {
  return asBackEnd(user, 'PATCH', `/v1/users/${user.id}`, body)
}
