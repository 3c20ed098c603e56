// Two-factor that is required of one user, by the user or by an admin or API key of the account.
import t from 'tap'
import { OPERATOR_KEY, type TestUser, UNKNOWN } from '../../support/app.ts'
import { isProblem, pointersOf } from '../../support/problems.ts'
import { startWithFactors } from './factors.ts'

const service = await startWithFactors(t)
const { assertedToken, call, changePolicy, clock, createAccount, createApiKey, createUser } =
  service
const { enrolledUser, isDone, isRefused, isAccepted, now, prisma, stateOf, traced } = service

const require = (as: string, required: unknown, userId = 'me') =>
  call('PUT', `/v1/users/${userId}/two-factor`, { as, body: { required } })
const requirementOf = async ({ id, account }: TestUser) => {
  const answer = await call('GET', `/v1/users/${id}`, { as: account.apiKey })
  return answer.json().twoFactor.requirement
}
const REQUIRED = 'two_factor_required_of_user'
const WITHDRAWN = 'two_factor_requirement_withdrawn'
const EVENT = { type: 'two_factor.require', targetKind: 'user' }

t.test('200: each caller requires and withdraws, with an audit event and a mail', async (t) => {
  const account = await createAccount()
  const admin = await enrolledUser({ account, role: 'admin' })
  const user = await createUser({ account })
  for (const [by, shown, as, id] of [
    ['self', 'self', await assertedToken(user), 'me'],
    ['self', 'self', await assertedToken(user), user.id],
    ['admin', 'admin', await admin.accessToken(), user.id],
    ['api_key', 'admin', await createApiKey(account, 'users:write'), user.id]
  ] as const) {
    // The mail of another user's act does not show an address.
    const sent = by === 'self' ? {} : { address: null }
    for (const required of [true, false]) {
      const mail = { kind: required ? REQUIRED : WITHDRAWN, details: { by }, ...sent }
      const { answer, events, mails } = await traced(user, () => require(as, required, id))
      t.equal(answer.statusCode, 200)
      t.match(answer.json(), {
        id: user.id,
        twoFactor: {
          required,
          requirement: required ? { by: shown, since: now().toISOString() } : null
        }
      })
      t.match(events, [{ ...EVENT, targetId: user.id, details: { required } }])
      t.match(mails, [{ recipient: user.email, ...mail }])
      const again = await traced(user, () => require(as, required, id))
      t.equal(again.answer.statusCode, 200)
      t.same([again.events, again.mails], [[], []], 'a repeat changes and sends nothing')
    }
    if (by !== 'api_key') t.ok(await isAccepted(as), 'no token is revoked')
  }
})

t.test('200: the response shows the result of the request, not what follows it', async (t) => {
  const account = await createAccount()
  const user = await createUser({ account })
  // A deferred trigger runs at the commit, so it acts like another request between the commit and the response.
  await prisma.$executeRaw`
    CREATE FUNCTION withdraw() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
      UPDATE "User" SET "requiredBy" = NULL, "requiredSince" = NULL WHERE id = NEW.id;
      RETURN NULL;
    END $$`
  await prisma.$executeRaw`
    CREATE CONSTRAINT TRIGGER withdraw AFTER UPDATE ON "User" DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW WHEN (NEW."requiredBy" IS NOT NULL) EXECUTE FUNCTION withdraw()`
  const answer = await require(await createApiKey(account, 'users:write'), true, user.id)
  await prisma.$executeRaw`DROP TRIGGER withdraw ON "User"`
  t.equal(answer.json().twoFactor.requirement?.by, 'admin')
  t.equal(await requirementOf(user), null)
})

t.test(
  "200: an admin requirement takes the place of the user's own, never the reverse",
  async (t) => {
    const account = await createAccount()
    const user = await createUser({ account })
    const as = await assertedToken(user)
    await require(as, true)
    const ownSince = now().toISOString()
    t.same(await requirementOf(user), { by: 'self', since: ownSince })
    clock.advance({ minutes: 1 })
    const event = { ...EVENT, targetId: user.id }
    const mail = { kind: REQUIRED, details: { by: 'api_key' } }
    await require(account.apiKey, true, user.id)
    const since = now().toISOString()
    t.same(await requirementOf(user), { by: 'admin', since })
    const { answer, mails } = await traced(user, () => require(as, true))
    t.match(answer.json(), { twoFactor: { requirement: { by: 'admin', since } } })
    t.same(mails, [])
    await isRefused(
      t,
      user,
      () => require(as, false),
      [409, 'policy-requires-authenticator'],
      event
    )
    await require(account.apiKey, false, user.id)
    t.same(await requirementOf(user), null)
    await isDone(t, user, () => require(as, true), {
      ...{ status: 200, event },
      mail: { ...mail, details: { by: 'self' } }
    })
  }
)

t.test('an admin who acts on themself acts as a user', async (t) => {
  const admin = await enrolledUser({ account: await createAccount(), role: 'admin' })
  const as = await admin.accessToken()
  t.match((await require(as, true, admin.id)).json(), {
    twoFactor: { requirement: { by: 'self' } }
  })
  await require(admin.account.apiKey, true, admin.id)
  isProblem(t, await require(as, false), 409, 'policy-requires-authenticator')
})

t.test('409: users cannot withdraw a set-up that a reset made necessary', async (t) => {
  const account = await createAccount()
  await changePolicy(account, {
    sso: { mode: 'optional', issuer: 'https://login.example.com', clientId: 'client-1' }
  })
  const user = await enrolledUser({ account })
  await call('POST', `/v1/users/${user.id}/reset`, { as: account.apiKey })
  const body = { userId: user.id, firstFactor: 'sso' }
  const { accessToken } = (
    await call('POST', '/v1/login/assertion', { as: account.apiKey, body })
  ).json()
  isProblem(t, await require(accessToken, false), 409, 'policy-requires-authenticator')
  t.equal((await require(account.apiKey, false, user.id)).statusCode, 200)
  t.match(await requirementOf(user), { by: 'reset' }, 'an admin neither: only a set-up ends it')
})

t.test(
  '401: users need a sign-in of the last ten minutes, and admins a second factor',
  async (t) => {
    const account = await createAccount()
    const user = await createUser({ account })
    const enrolled = await enrolledUser({ account })
    const admin = await enrolledUser({ account, role: 'admin' })
    const byPassword = await assertedToken(await createUser({ account, role: 'admin' }))
    const [own, ofEnrolled, asAdmin] = [
      await assertedToken(user),
      await enrolled.accessToken(),
      await admin.accessToken()
    ]
    const stepUp = isProblem(t, await require(byPassword, true, user.id), 401, 'step-up-required')
    t.equal(stepUp['next'], 'enroll')
    clock.advance({ seconds: 600 })
    t.equal((await require(own, true)).statusCode, 200, 'ten minutes are recent')
    clock.advance({ seconds: 1 })
    for (const [as, id, next] of [
      [own, 'me', 'login'],
      [ofEnrolled, 'me', 'verify'],
      [asAdmin, user.id, 'verify']
    ] as const) {
      const refused = isProblem(t, await require(as, false, id), 401, 'step-up-required')
      t.equal(refused['next'], next)
    }
    t.match(await requirementOf(user), { by: 'self' })
  }
)

t.test('403, 404: members, other accounts and other keys change nothing', async (t) => {
  const account = await createAccount()
  const stranger = await createAccount()
  const user = await createUser({ account })
  const member = await assertedToken(await createUser({ account }))
  const before = await stateOf(user)
  isProblem(t, await require(member, true, user.id), 403, 'limited-access')
  isProblem(t, await require(OPERATOR_KEY, true, user.id), 403, 'insufficient-scope')
  const reader = await createApiKey(account, 'users:read', 'users:reset', 'policy:write')
  isProblem(t, await require(reader, true, user.id), 403, 'insufficient-scope')
  const foreign = await enrolledUser({ account: stranger, role: 'admin' })
  for (const as of [stranger.apiKey, await foreign.accessToken()]) {
    for (const id of [user.id, UNKNOWN]) {
      isProblem(t, await require(as, true, id), 404, 'user-not-found')
    }
  }
  isProblem(t, await require(account.apiKey, true), 404, 'user-not-found')
  t.same(await stateOf(user), before)
})

t.test('400: a malformed request is rejected', async (t) => {
  const user = await createUser()
  const as = user.account.apiKey
  for (const required of ['true', 1, null]) {
    const answer = await require(as, required, user.id)
    t.same(pointersOf(isProblem(t, answer, 400, 'invalid-request')), ['/required'])
  }
  for (const body of [{}, { required: true, by: 'self' }]) {
    const answer = await call('PUT', `/v1/users/${user.id}/two-factor`, { as, body })
    isProblem(t, answer, 400, 'invalid-request')
  }
})

t.test('500: nothing is required if the audit event or the mail cannot be written', async (t) => {
  const user = await createUser()
  const before = await stateOf(user)
  const headers = { authorization: `Bearer ${user.account.apiKey}` }
  for (const [table, check] of [
    ['AuditEvent', `outcome <> 'succeeded'`],
    ['OutboxMail', 'false']
  ] as const) {
    const name = `"${table}_broken"`
    await prisma.$executeRawUnsafe(
      `ALTER TABLE "${table}" ADD CONSTRAINT ${name} CHECK (${check}) NOT VALID`
    )
    const url = `/v1/users/${user.id}/two-factor`
    const payload = { required: true }
    const { statusCode } = await service.app.inject({ method: 'PUT', url, headers, payload })
    t.equal(statusCode, 500, table)
    await prisma.$executeRawUnsafe(`ALTER TABLE "${table}" DROP CONSTRAINT ${name}`)
  }
  t.same(await stateOf(user), before)
})
