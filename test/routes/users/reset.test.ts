import { randomUUID } from 'node:crypto'
import t, { type Test } from 'tap'
import {
  type EnrolledUser,
  OPERATOR_KEY,
  startApp,
  type TestUser,
  UNKNOWN
} from '../../support/app.ts'
import { wrongCode } from '../../support/guesses.ts'
import { isProblem, pointersOf, tellTales } from '../../support/problems.ts'
import { actsOn, eventsAbout, MAIL_WAITS, mailsTo } from '../../support/records.ts'
import { NO_ROWS, rowsOf } from '../../support/two-factor-rows.ts'

const service = await startApp(t, { env: MAIL_WAITS })
const { assertedToken, call, changePolicy, clock, confirm, createAccount, createApiKey } = service
const { createUser, database, enroll, enrolledUser, login, recover, verify } = service

const NOTHING = {
  ...NO_ROWS,
  locks: { codeFailures: 0, codeLockedUntil: null, codeDisabledAt: null }
}

const reset = (as: string, userId: string, body?: object) =>
  call('POST', `/v1/users/${userId}/reset`, { as, ...(body && { body }) })

t.test('200: an admin resets a member and removes everything of their two-factor', async (t) => {
  const account = await createAccount()
  const admin = await enrolledUser({ account, role: 'admin' })
  const member = await enrolledUser({ account })
  await addDevice(member)
  await lockCodes(member)
  const answer = await reset(await admin.accessToken(), member.id, { reason: 'Lost phone' })
  t.equal(answer.statusCode, 200)
  t.same(answer.json(), {
    userId: member.id,
    email: member.email,
    resetAt: clock.now().toISOString(),
    nextSignIn: 'enrollment_required'
  })
  t.match(await leftOf(member), NOTHING)
  const next = { status: 'enrollment_required', reason: 'reset_pending' }
  t.match((await login(member)).json(), next)

  const actor = { kind: 'user', id: admin.id, credential: 'access_token' }
  const done = { type: 'user.reset', outcome: 'succeeded', reason: 'Lost phone', actor }
  t.match(
    (await eventsAbout(service, member.id)).filter(({ type }) => /reset/.test(type)),
    [done]
  )
  const mails = await mailsTo(service, member.email, 'two_factor_reset')
  t.same(mails, [{ kind: 'two_factor_reset', details: { by: 'admin' }, address: null }])
  t.same(await mailsTo(service, admin.email, 'two_factor_reset'), [])
})

t.test('200: where two-factor is required, the next sign-in leads to the set-up', async (t) => {
  const account = await createAccount()
  const member = await enrolledUser({ account })
  await changePolicy(account, { twoFactor: 'required' })
  const key = await createApiKey(account, 'users:reset')
  const answer = await reset(key, member.id)
  t.match(answer.json(), { nextSignIn: 'enrollment_required' })
  const { status, stepToken } = (await login(member)).json()
  t.equal(status, 'enrollment_required')
  const { authenticatorId, setupKey } = (await enroll(stepToken)).json()
  t.not(setupKey.replaceAll(' ', ''), member.secret.replaceAll(' ', ''), 'a new key')
  const confirmed = await confirm(stepToken, authenticatorId, service.codeAt(setupKey, clock.now()))
  t.equal(confirmed.json().recoveryCodes.length, 10)
  const mails = await mailsTo(service, member.email, 'two_factor_reset')
  t.same(mails, [{ kind: 'two_factor_reset', details: { by: 'api_key' }, address: null }])
})

t.test('200: a reset leads to a set-up if the user had or needs two-factor', async (t) => {
  const account = await createAccount()
  const require = (user: TestUser) =>
    call('PUT', `/v1/users/${user.id}/two-factor`, { as: account.apiKey, body: { required: true } })
  const nextOf = async (user: TestUser) => (await reset(account.apiKey, user.id)).json().nextSignIn
  const reasonOf = async (user: TestUser) => (await login(user)).json().reason
  const stored = ({ id }: TestUser) => database.prisma.user.findFirstOrThrow({ where: { id } })

  const enrolling = await createUser({ account })
  await enroll(await assertedToken(enrolling))
  t.equal(await nextOf(enrolling), 'not_required', 'nothing was confirmed yet')
  t.equal((await stored(enrolling)).resetPendingSince, null)

  const required = await createUser({ account })
  await enroll(await assertedToken(required))
  await require(required)
  t.equal(await nextOf(required), 'enrollment_required')
  t.equal(await reasonOf(required), 'reset_pending')
  await enroll(await assertedToken(required))
  t.equal(await nextOf(required), 'enrollment_required', 'and so after another reset')
  const token = await assertedToken(required)
  const { authenticatorId, setupKey } = (await enroll(token)).json()
  await confirm(token, authenticatorId, service.codeAt(setupKey, clock.now()))
  t.match(await stored(required), { resetPendingSince: null, requiredBy: 'admin' })
  t.equal(await reasonOf(required), 'user_required', 'the requirement survives the reset')

  const inGrace = await createUser({ account })
  await enroll(await assertedToken(inGrace))
  await changePolicy(account, { twoFactor: 'required', graceDays: 7 })
  t.equal(await nextOf(inGrace), 'enrollment_required', 'a grace period does not pass the reset')
  t.equal(await reasonOf(inGrace), 'reset_pending')
  await changePolicy(account, { graceDays: 0 })
  t.equal(await reasonOf(inGrace), 'account_required', 'the policy comes first')

  const admins = await createAccount()
  await changePolicy(admins, { twoFactor: 'required', appliesTo: 'admins' })
  const member = await createUser({ account: admins })
  await enroll(await assertedToken(member))
  const unbound = await reset(admins.apiKey, member.id)
  t.match(unbound.json(), { nextSignIn: 'not_required' }, 'the policy does not bind members')
})

t.test('200: where single sign-on is required, no password sign-in follows a reset', async (t) => {
  const account = await createAccount()
  const user = await enrolledUser({ account })
  const sso = { mode: 'required', issuer: 'https://login.example.com', clientId: 'client-1' }
  await changePolicy(account, { sso })
  t.match((await reset(account.apiKey, user.id)).json(), { nextSignIn: 'sso_required' })
  await changePolicy(account, { sso: { mode: 'off' } })
  t.match((await login(user)).json(), { reason: 'reset_pending' }, 'the set-up is still due')
})

t.test('200: a device that a reset has left behind does not pass the set-up', async (t) => {
  const account = await createAccount()
  await changePolicy(account, { trustedDevices: { allowed: true } })
  const user = await enrolledUser({ account })
  const body = { code: user.nextCode(), rememberDevice: true }
  const { deviceToken } = (
    await call('POST', '/v1/verify', { as: await user.stepToken(), body })
  ).json()
  const devices = await database.prisma.trustedDevice.findMany({ where: { userId: user.id } })
  await reset(account.apiKey, user.id)
  await database.prisma.trustedDevice.createMany({ data: devices })
  const { slug } = account
  const signIn = { account: slug, email: user.email, password: user.password, deviceToken }
  const next = { status: 'enrollment_required', reason: 'reset_pending' }
  t.match((await call('POST', '/v1/login', { body: signIn })).json(), next)
})

t.test('200: a reset ends a lock, a disabled path and a pending set-up', async (t) => {
  const account = await createAccount()
  const pending = await createUser({ account })
  await enroll(await assertedToken(pending))
  t.equal((await reset(account.apiKey, pending.id)).statusCode, 200)
  t.match(await leftOf(pending), NOTHING)

  const closed = await createUser({ account })
  for (const state of [
    { codeDisabledAt: clock.now() },
    { codeLockedUntil: new Date(clock.now().getTime() + 1000) },
    { recoveryLockedUntil: new Date(clock.now().getTime() + 1000) }
  ]) {
    await database.prisma.user.updateMany({ where: { id: closed.id }, data: state })
    t.equal((await reset(account.apiKey, closed.id)).statusCode, 200, JSON.stringify(state))
    isProblem(t, await reset(account.apiKey, closed.id), 409, 'nothing-to-reset')
  }
})

t.test('409: a refused support reset is audited in the account of the user', async (t) => {
  const account = await createAccount()
  const user = await createUser({ account })
  const refused = await reset(OPERATOR_KEY, user.id, { ticket: 'SUP-404' })
  isProblem(t, refused, 409, 'nothing-to-reset')
  const trail = await call('GET', `/v1/audit-events?userId=${user.id}`, { as: account.apiKey })
  t.match(trail.json().items[0], {
    ...{ type: 'user.reset', outcome: 'refused', reason: 'nothing-to-reset', ticket: 'SUP-404' },
    actor: { kind: 'operator' }
  })
  t.equal(
    (await eventsAbout(service, user.id)).filter(({ type }) => type === 'user.reset').length,
    1
  )
})

t.test('200: mails to all users of an account are due ten per second', async (t) => {
  const account = await createAccount()
  const { prisma } = database
  const createdAt = clock.now()
  const data = Array.from({ length: 25 }, (_, index) => ({
    ...{ accountId: account.id, id: randomUUID(), createdAt, email: `each-${index}@example.com` }
  }))
  await prisma.user.createMany({ data })
  await changePolicy(account, { twoFactor: 'required' })
  const mails = await prisma.outboxMail.groupBy({
    ...{ by: ['dueAt'], where: { accountId: account.id }, _count: true, orderBy: { dueAt: 'asc' } }
  })
  t.same(
    mails.map(({ dueAt, _count }) => [dueAt.getTime() - createdAt.getTime(), _count]),
    [
      [0, 10],
      [1000, 10],
      [2000, 5]
    ]
  )
})

t.test('409: a user without two-factor has nothing to reset, and nothing changes', async (t) => {
  const user = await createUser()
  const token = await assertedToken(user)
  isProblem(t, await reset(user.account.apiKey, user.id), 409, 'nothing-to-reset')
  t.equal((await call('GET', '/v1/users/me', { as: token })).statusCode, 200, 'same epoch')
  t.same(await actsOn(service, user.id, 'user.reset'), ['user.reset refused: nothing-to-reset'])
  t.same(await mailsTo(service, user.email), [])

  await enroll(token)
  clock.advance({ minutes: 10 })
  const expired = await reset(user.account.apiKey, user.id)
  isProblem(t, expired, 409, 'nothing-to-reset')
})

t.test('401: a reset during a sign-in revokes its step token and all access tokens', async (t) => {
  const account = await createAccount()
  await changePolicy(account, { twoFactor: 'required' })
  const member = await enrolledUser({ account })
  const [stepToken, accessToken] = [await member.stepToken(), await member.accessToken()]
  const [recoveryCode = ''] = member.recoveryCodes
  t.equal((await reset(account.apiKey, member.id)).statusCode, 200)
  const code = member.nextCode()
  isProblem(t, await verify(stepToken, code), 401, 'invalid-credential')
  isProblem(t, await recover(stepToken, recoveryCode), 401, 'invalid-credential')
  isProblem(t, await verify(accessToken, code), 401, 'invalid-credential')
  const me = await call('GET', '/v1/users/me', { as: accessToken })
  isProblem(t, me, 401, 'invalid-credential')
  const body = { token: accessToken }
  const introspected = await call('POST', '/v1/introspect', { as: account.apiKey, body })
  t.same(introspected.json(), { active: false })

  const enrolling = await createUser({ account })
  const enrollToken = await assertedToken(enrolling)
  const { authenticatorId, setupKey } = (await enroll(enrollToken)).json()
  t.equal((await reset(account.apiKey, enrolling.id)).statusCode, 200)
  const late = await confirm(enrollToken, authenticatorId, service.codeAt(setupKey, clock.now()))
  isProblem(t, late, 401, 'invalid-credential')
})

t.test('200: the operator resets with a ticket, and every admin is notified', async (t) => {
  const account = await createAccount()
  const [admin, other, gone] = [
    await enrolledUser({ account, role: 'admin' }),
    await createUser({ account, role: 'admin' }),
    await createUser({ account, role: 'admin' })
  ]
  await call('PATCH', `/v1/users/${gone.id}`, { as: account.apiKey, body: { disabled: true } })
  const member = await createUser({ account })
  const elsewhere = await createUser({ account: await createAccount(), role: 'admin' })

  t.same(pointersOf(isProblem(t, await reset(OPERATOR_KEY, admin.id), 400, 'invalid-request')), [
    '/ticket'
  ])
  const withoutTicket = await reset(OPERATOR_KEY, admin.id, { reason: 'because' })
  t.same(pointersOf(isProblem(t, withoutTicket, 400, 'invalid-request')), ['/ticket'])
  for (const id of [UNKNOWN, 'me']) {
    isProblem(t, await reset(OPERATOR_KEY, id, { ticket: 'SUP-1' }), 404, 'user-not-found')
  }
  const ticket = 'SUP-20417'
  t.equal((await reset(OPERATOR_KEY, admin.id, { ticket })).statusCode, 200)
  t.match(await leftOf(admin), NOTHING)

  const [done] = (await eventsAbout(service, admin.id)).filter(({ type }) => type === 'user.reset')
  t.match(done, { ticket, actor: { kind: 'operator', credential: 'operator_key' } })
  const told = await mailsTo(service, admin.email, 'support_reset', 'support_reset_of_user')
  t.same(told, [{ kind: 'support_reset', details: { ticket }, address: null }], 'only one mail')
  const notice = { kind: 'support_reset_of_user', address: null }
  t.same(await mailsTo(service, other.email, 'support_reset_of_user'), [
    { ...notice, details: { ticket, user: admin.email, by: 'operator', actor: null } }
  ])
  for (const { email } of [gone, member, elsewhere]) {
    t.same(await mailsTo(service, email, 'support_reset', 'support_reset_of_user'), [])
  }
})

t.test('all other callers are refused, nothing changes, and the refusal is audited', async (t) => {
  const account = await createAccount()
  const stranger = await createAccount()
  const target = await enrolledUser({ account })
  const admin = await enrolledUser({ account, role: 'admin' })
  const stale = await admin.accessToken()
  const byPassword = await assertedToken(await createUser({ account, role: 'admin' }))
  clock.advance({ seconds: 601 })
  const member = await enrolledUser({ account })
  const scopes = ['users:read', 'users:write', 'policy:write', 'login:assert', 'audit:read']
  const before = await leftOf(target)

  const refusals: [who: string, as: string, status: number, code: string, isOnRecord: boolean][] = [
    ['a member', await member.accessToken(), 403, 'limited-access', true],
    ['the member themself', await target.accessToken(), 403, 'limited-access', true],
    ['an admin without a second factor', byPassword, 401, 'step-up-required', true],
    ['an admin with a code from eleven minutes ago', stale, 401, 'step-up-required', true],
    [
      'a key without the scope',
      await createApiKey(account, ...scopes),
      403,
      'insufficient-scope',
      true
    ],
    ['a step token', await member.stepToken(), 401, 'invalid-credential', true],
    ['garbage', 'garbage', 401, 'invalid-credential', false]
  ]
  for (const [who, as, status, code, isOnRecord] of refusals) {
    const events = await actsOn(service, target.id, 'user.reset')
    isProblem(t, await reset(as, target.id, { reason: 'please' }), status, code)
    const expected = isOnRecord ? [...events, `user.reset refused: ${code}`] : events
    t.same(await actsOn(service, target.id, 'user.reset'), expected, who)
  }
  const self = await reset(await admin.accessToken(), admin.id)
  isProblem(t, self, 403, 'self-reset-forbidden')
  clock.advance({ seconds: 60 })
  isProblem(t, await reset(await admin.accessToken(), 'me'), 403, 'self-reset-forbidden')
  t.same(await actsOn(service, admin.id, 'user.reset'), [
    'user.reset refused: self-reset-forbidden',
    'user.reset refused: self-reset-forbidden'
  ])
  t.same(await leftOf(target), before)
  t.same(await mailsTo(service, target.email, 'two_factor_reset', 'support_reset'), [])

  await isHidden(t, account.apiKey, await enrolledUser({ account: stranger }))
  await isHidden(t, await admin.accessToken(), await enrolledUser({ account: stranger }))
})

t.test('400: a malformed request is rejected', async (t) => {
  const user = await enrolledUser()
  const as = user.account.apiKey
  for (const [body, pointer] of [
    [{ reason: '' }, '/reason'],
    [{ reason: '  ' }, '/reason'],
    [{ ticket: ' ' }, '/ticket'],
    [{ reason: 'x'.repeat(501) }, '/reason'],
    [{ reason: 'a\u0000b' }, '/reason'],
    [{ ticket: 4711 }, '/ticket'],
    [{ ticket: 'x'.repeat(101) }, '/ticket'],
    [{ force: true }, '/force']
  ] as const) {
    const answer = await reset(as, user.id, body)
    t.same(pointersOf(isProblem(t, answer, 400, 'invalid-request')), [pointer])
  }
  isProblem(t, await reset(as, `${user.id}0`), 400, 'invalid-request')
  t.match(await leftOf(user), { authenticators: 1 })
})

/** Asserts that another account's user and an unknown id get the same response except for `requestId`. */
async function isHidden(t: Test, as: string, theirs: EnrolledUser): Promise<void> {
  const before = await leftOf(theirs)
  const [foreign, unknown] = [await reset(as, theirs.id), await reset(as, UNKNOWN)]
  isProblem(t, foreign, 404, 'user-not-found')
  t.same(tellTales(foreign), tellTales(unknown))
  t.same(await leftOf(theirs), before)
}

async function lockCodes(user: EnrolledUser): Promise<void> {
  for (const stepToken of [await user.stepToken(), await user.stepToken()]) {
    for (let guess = 0; guess < 5; guess += 1) await verify(stepToken, wrongCode(user, clock.now()))
  }
}

async function addDevice({ id: userId, account }: TestUser): Promise<void> {
  const expiresAt = new Date(clock.now().getTime() + 86_400_000)
  const key = { accountId: account.id, userId, id: UNKNOWN }
  await database.prisma.trustedDevice.create({
    data: { ...key, createdAt: clock.now(), expiresAt }
  })
}

async function leftOf(user: TestUser) {
  return {
    ...(await rowsOf(service, user)),
    locks: await database.prisma.user.findFirstOrThrow({
      where: { id: user.id },
      select: {
        ...{ codeFailures: true, codeLockedUntil: true, codeDisabledAt: true },
        ...{ recoveryFailures: true, recoveryLockedUntil: true, epoch: true }
      }
    })
  }
}
