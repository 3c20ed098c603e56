// S28: every act and every refusal is audited exactly once, in the transaction of the act. The users concerned receive
// an e-mail.
import t from 'tap'
import { NO_ACCOUNT } from '../../src/core/audit/events.ts'
import { OPERATOR_KEY, startApp, UNKNOWN } from '../support/app.ts'
import { WRONG_RECOVERY_CODE, wrongCode } from '../support/guesses.ts'
import { isProblem } from '../support/problems.ts'
import { actsOn, eventsAbout, MAIL_WAITS, mailsTo } from '../support/records.ts'

const service = await startApp(t, { env: MAIL_WAITS })
const { assertedToken, call, changePolicy, clock, confirm, createAccount, createUser } = service
const { database, enroll, enrolledUser, login, recover, verify } = service

const allEvents = (where: object) =>
  database.prisma.auditEvent.findMany({ where, orderBy: { id: 'asc' } })

t.test('sign-ins by password and code are audited, both accepted and refused', async (t) => {
  const user = await enrolledUser()
  await forget(user.id)
  await login({ ...user, password: 'not the password' })
  const { stepToken } = (await login(user)).json()
  await verify(stepToken, wrongCode(user, clock.now()))
  await verify(stepToken, user.nextCode())
  isProblem(t, await verify(stepToken, user.nextCode()), 401, 'invalid-credential')
  t.match(await since(user.id), [
    {
      type: 'sign_in.password',
      outcome: 'refused',
      reason: 'invalid-credentials',
      actor: { kind: 'anonymous', id: null, credential: null }
    },
    {
      type: 'sign_in.password',
      outcome: 'succeeded',
      actor: { kind: 'user', id: user.id, credential: 'password' },
      details: { next: 'verification_required', why: 'user_enabled' }
    },
    {
      type: 'sign_in.code',
      outcome: 'refused',
      reason: 'code-rejected',
      actor: { kind: 'user', id: user.id, credential: 'step_token' },
      details: { attemptsRemaining: 4, lockedUntil: null, isDisabled: false }
    },
    {
      type: 'sign_in.code',
      outcome: 'succeeded',
      details: { authenticatorId: user.authenticatorId }
    }
  ])
  t.equal((await since(user.id)).length, 4)
})

t.test('a sign-in to an unknown account or user is audited without its input', async (t) => {
  const account = await createAccount()
  const stranger = { account, email: 'stranger@example.com', password: 'whatever it is' }
  await login(stranger)
  const [known] = await allEvents({ accountId: account.id, type: 'sign_in.password' })
  t.match(known, {
    outcome: 'refused',
    userId: null,
    targetId: null,
    reason: 'invalid-credentials'
  })
  await login({ ...stranger, account: { ...account, slug: 'no-such-account' } })
  const [unknown] = await allEvents({ accountId: NO_ACCOUNT, type: 'sign_in.password' })
  t.match(unknown, { outcome: 'refused', userId: null, reason: 'invalid-credentials' })
  const text = JSON.stringify([known, unknown])
  t.notMatch(text, /stranger@|no-such-account|whatever/, 'the input is not stored')
})

t.test('403: a password sign-in is audited if single sign-on is required', async (t) => {
  const account = await createAccount()
  const user = await createUser({ account })
  const sso = { mode: 'required', issuer: 'https://login.example.com', clientId: 'client-1' }
  await changePolicy(account, { sso })
  isProblem(t, await login(user), 403, 'sso-required')
  const events = await allEvents({ accountId: account.id, type: 'sign_in.password' })
  t.match(events, [{ outcome: 'refused', reason: 'sso-required', userId: null }])
  t.equal(events.length, 1)
})

t.test('sign-ins with one factor are audited, by password and by assertion', async (t) => {
  const user = await createUser()
  await forget(user.id)
  await assertedToken(user)
  await login(user)
  const [keyId] = user.account.apiKey.split('_').slice(1)
  const details = { next: 'authenticated', why: 'not_required' }
  t.match(await since(user.id), [
    {
      type: 'sign_in.assert',
      actor: { kind: 'api_key', id: keyId, credential: 'api_key' },
      details
    },
    { type: 'sign_in.password', actor: { kind: 'user', id: user.id }, details }
  ])
})

t.test('guesses that disable codes, and a recovery code, are audited and mailed', async (t) => {
  const user = await enrolledUser()
  await database.prisma.user.updateMany({ where: { id: user.id }, data: { codeFailures: 48 } })
  const stepToken = await user.stepToken()
  await forget(user.id)
  for (const _guess of [49, 50]) await verify(stepToken, wrongCode(user, clock.now()))
  isProblem(t, await verify(stepToken, user.nextCode()), 403, 'authenticator-disabled')
  await recover(stepToken, WRONG_RECOVERY_CODE)
  await recover(stepToken, user.recoveryCodes[0] ?? '')
  t.same(await actsSince(user.id), [
    'sign_in.code refused: code-rejected',
    'sign_in.code refused: code-rejected',
    'sign_in.code refused: authenticator-disabled',
    'sign_in.recovery_code refused: code-rejected',
    'sign_in.recovery_code succeeded'
  ])
  const address = '127.0.0.1'
  t.same(await mailsTo(service, user.email, 'codes_disabled', 'recovery_code_used'), [
    {
      kind: 'codes_disabled',
      details: { recoveryCodesRemaining: 10, firstFactor: 'password' },
      address
    },
    { kind: 'recovery_code_used', details: { remaining: 9 }, address }
  ])
})

t.test('the set-up and replacement of an authenticator are audited and mailed', async (t) => {
  const user = await createUser()
  const token = await assertedToken(user)
  await forget(user.id)
  const first = (await enroll(token, { name: 'Phone' })).json()
  isProblem(t, await confirm(token, first.authenticatorId, '000000'), 422, 'code-rejected')
  const as = await confirmed(token, first)
  const second = await confirmed(as, (await enroll(as, { name: 'Tablet' })).json())
  const replaces = first.authenticatorId
  await confirmed(second, (await enroll(second, { name: 'New phone', replaces })).json())

  const target = (id: string) => ({ kind: 'authenticator', id })
  const events = await since(user.id)
  t.same(
    events.map(({ type, outcome }) => `${type} ${outcome}`),
    [
      'authenticator.enroll succeeded',
      'authenticator.confirm refused',
      ...Array(3).fill(['authenticator.confirm succeeded', 'authenticator.enroll succeeded']).flat()
    ].slice(0, -1)
  )
  const [stored] = await allEvents({ userId: user.id, type: 'authenticator.confirm' })
  t.same({ kind: stored?.targetKind, id: stored?.targetId }, target(first.authenticatorId))
  const address = '127.0.0.1'
  t.same(await mailsTo(service, user.email), [
    { kind: 'authenticator_added', details: { authenticator: 'Tablet' }, address },
    {
      kind: 'authenticator_replaced',
      details: { authenticator: 'New phone', replaced: 'Phone' },
      address
    },
    { kind: 'two_factor_enabled', details: { authenticator: 'Phone' }, address }
  ])

  async function confirmed(
    as: string,
    { authenticatorId, setupKey }: { authenticatorId: string; setupKey: string }
  ): Promise<string> {
    const code = service.codeAt(setupKey, clock.now())
    return (await confirm(as, authenticatorId, code)).json().accessToken
  }
})

t.test('new recovery codes, passwords and addresses are audited and mailed', async (t) => {
  const user = await enrolledUser()
  const as = await user.accessToken()
  await forget(user.id)
  await call('POST', '/v1/users/me/recovery-codes', { as })
  const password = 'another horse, another battery'
  const wrong = { password, currentPassword: 'not the current one' }
  await call('PATCH', '/v1/users/me', { as, body: wrong })
  await call('PATCH', '/v1/users/me', { as, body: { password, currentPassword: user.password } })
  const email = `new-${user.email}`
  const byBackEnd = { as: user.account.apiKey, body: { email, role: 'admin', disabled: false } }
  await call('PATCH', `/v1/users/${user.id}`, byBackEnd)
  t.same(await actsSince(user.id), [
    'recovery_codes.regenerate succeeded',
    'user.change refused: password-rejected',
    'user.change succeeded',
    'user.change succeeded'
  ])
  const [, , own, byKey] = await since(user.id)
  t.same(own?.details, { others: ['password'] })
  t.same(byKey?.details, { role: 'admin', disabled: false, others: ['email'] })
  const kinds = ['recovery_codes_regenerated', 'password_changed', 'email_changed'] as const
  const moved = { kind: 'email_changed', details: { from: user.email, to: email }, address: null }
  t.same(await mailsTo(service, user.email, ...kinds), [
    moved,
    { kind: 'password_changed', details: {}, address: '127.0.0.1' },
    { kind: 'recovery_codes_regenerated', details: {}, address: '127.0.0.1' }
  ])
  t.same(await mailsTo(service, email), [moved])
})

t.test('a two-factor requirement is audited, and affected users receive a mail', async (t) => {
  const account = await createAccount()
  const [enrolled, member, gone] = [
    await enrolledUser({ account }),
    await createUser({ account }),
    await createUser({ account })
  ]
  await call('PATCH', `/v1/users/${gone.id}`, { as: account.apiKey, body: { disabled: true } })
  await changePolicy(account, { twoFactor: 'required' })
  await changePolicy(account, { twoFactor: 'required' })
  const stale = { as: account.apiKey, body: {}, headers: { 'if-match': '"1"' } }
  isProblem(t, await call('PATCH', '/v1/policy', stale), 412, 'etag-mismatch')
  const events = await allEvents({ accountId: account.id, type: 'policy.change' })
  t.match(events, [
    { outcome: 'succeeded', userId: null, details: { twoFactor: 'required', version: 2 } },
    { outcome: 'succeeded', details: { twoFactor: 'required', version: 3 } },
    { outcome: 'refused', reason: 'etag-mismatch' }
  ])
  const mail = { kind: 'two_factor_required', details: { from: null }, address: null }
  t.same(await mailsTo(service, member.email), [mail], 'one mail, not one for each change')
  t.same(await mailsTo(service, enrolled.email, 'two_factor_required'), [])
  t.same(await mailsTo(service, gone.email, 'two_factor_required'), [])

  // An unavailable mail server leaves this state.
  await database.prisma.outboxMail.updateMany({
    where: { recipient: member.email },
    data: { tries: { increment: 1 } }
  })
  await changePolicy(account, { twoFactor: 'optional' })
  t.same(await mailsTo(service, member.email), [], 'a mail without its reason is deleted')
})

t.test('accounts, API keys and users are audited from creation to deletion', async (t) => {
  const account = await createAccount({ slug: 'recorded' })
  await call('PATCH', `/v1/accounts/${account.id}`, { as: OPERATOR_KEY, body: { name: 'New' } })
  const again = { as: OPERATOR_KEY, body: { slug: 'recorded', name: 'Again' } }
  isProblem(t, await call('POST', '/v1/accounts', again), 409, 'slug-taken')
  const body = { name: 'Second', scopes: ['users:read'] }
  const { id } = (await call('POST', '/v1/api-keys', { as: account.apiKey, body })).json()
  await call('DELETE', `/v1/api-keys/${id}`, { as: OPERATOR_KEY })
  isProblem(t, await call('DELETE', `/v1/api-keys/${id}`, { as: account.apiKey }), 404, 'not-found')
  const user = await createUser({ account })
  await call('DELETE', `/v1/users/${user.id}`, { as: account.apiKey })
  isProblem(
    t,
    await call('DELETE', `/v1/users/${user.id}`, { as: account.apiKey }),
    404,
    'user-not-found'
  )
  const events = await allEvents({ accountId: account.id })
  t.same(
    events.map(({ type, outcome, targetKind }) => `${type} ${outcome} ${targetKind}`),
    [
      'account.create succeeded account',
      'account.change succeeded account',
      'api_key.create succeeded api_key',
      'api_key.revoke succeeded api_key',
      'api_key.revoke refused api_key',
      'user.create succeeded user',
      'user.delete succeeded user',
      'user.delete refused user'
    ]
  )
  const [refused] = await allEvents({ accountId: NO_ACCOUNT, type: 'account.create' })
  t.match(refused, { outcome: 'refused', reason: 'slug-taken', actorKind: 'operator' })
})

t.test('403: a refused read is audited, and an allowed read or a 404 is not', async (t) => {
  const user = await createUser()
  await call('GET', `/v1/users/${UNKNOWN}`, { as: user.account.apiKey })
  await call('GET', '/v1/users', { as: user.account.apiKey })
  t.same(await allEvents({ accountId: user.account.id, type: 'user.read' }), [])
  const as = await assertedToken(user)
  isProblem(t, await call('GET', '/v1/users', { as }), 403, 'limited-access')
  const [refused] = await allEvents({ accountId: user.account.id, type: 'user.read' })
  t.match(refused, { outcome: 'refused', reason: 'limited-access', actorId: user.id })
})

t.test('403: a path parameter that is not an id is not stored in the audit event', async (t) => {
  for (const path of ['%00', "'%3B%20DROP%20TABLE", 'a'.repeat(90), 'capitals']) {
    const member = await createUser()
    const as = await assertedToken(member)
    const isId = path === 'capitals'
    const url = `/v1/users/${isId ? member.id.toUpperCase() : path}/reset`
    isProblem(t, await call('POST', url, { as }), 403, 'limited-access')
    const events = await allEvents({ actorId: member.id, type: 'user.reset' })
    t.same(
      events.map(({ targetId, userId }) => [targetId, userId]),
      [[isId ? member.id : null, member.id]],
      path
    )
  }
})

t.test('S23: 503 if an act or a refusal cannot be audited, and the act is not done', async (t) => {
  const { prisma } = database
  const member = await enrolledUser()
  const [as, stepToken] = [await member.accessToken(), await member.stepToken()]
  const code = member.nextCode()
  await prisma.$executeRaw`CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN RAISE EXCEPTION 'no room' USING ERRCODE = 'disk_full'; END $$`
  await prisma.$executeRaw`CREATE TRIGGER no_room BEFORE INSERT ON "AuditEvent" FOR EACH ROW EXECUTE FUNCTION refuse()`
  const refusals = [
    await call('POST', `/v1/users/${UNKNOWN}/reset`, { as }),
    await login({ ...member, password: 'wrong' }),
    await login(member),
    await verify(stepToken, wrongCode(member, clock.now())),
    await verify(stepToken, code),
    await recover(stepToken, member.recoveryCodes[0] ?? ''),
    await call('PATCH', '/v1/policy', {
      as: member.account.apiKey,
      body: { twoFactor: 'required' },
      headers: { 'if-match': '*' }
    })
  ]
  for (const answer of refusals) {
    t.ok(Number(isProblem(t, answer, 503, 'unavailable') && answer.headers['retry-after']) > 0)
  }
  await prisma.$executeRaw`DROP TRIGGER no_room ON "AuditEvent"`
  t.match((await call('GET', '/v1/policy', { as })).json(), { twoFactor: 'optional' })
  const signIn = await verify(stepToken, code)
  t.match(signIn.json(), { status: 'authenticated', recoveryCodesRemaining: 10 })
})

const seen = new Map<string, number>()

/** Excludes the events and mails so far from the assertions that follow. */
async function forget(userId: string): Promise<void> {
  seen.set(userId, (await eventsAbout(service, userId)).length)
  await database.prisma.outboxMail.deleteMany({})
}

async function since(userId: string) {
  return (await eventsAbout(service, userId)).slice(seen.get(userId))
}

async function actsSince(userId: string): Promise<string[]> {
  return (await actsOn(service, userId)).slice(seen.get(userId))
}
