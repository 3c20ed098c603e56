import t from 'tap'
import { OPERATOR_KEY, startApp } from '../../support/app.ts'
import { isProblem, pointersOf } from '../../support/problems.ts'

const service = await startApp(t)
const { assertedToken, call, clock, createAccount, createApiKey, createUser, enrolledUser } =
  service

const read = (as: string) => call('GET', '/v1/policy', { as })
const etagOf = async (as: string) => String((await read(as)).headers['etag'])
const change = (as: string, body: unknown, ifMatch?: string) =>
  call('PATCH', '/v1/policy', { as, body, ...(ifMatch && { headers: { 'if-match': ifMatch } }) })

const REQUIRED = { twoFactor: 'required' }
const OPTIONAL = { twoFactor: 'optional' }

t.test('200: two-factor is optional in a new account', async (t) => {
  const account = await createAccount()
  const answer = await read(account.apiKey)
  t.match(answer.json(), {
    ...OPTIONAL,
    effective: 'optional',
    updatedAt: clock.now().toISOString()
  })
  t.match(answer.headers['etag'], /^"[^"]+"$/, 'a strong tag')
})

t.test('200: signed-in users and keys with policy:read may read the policy', async (t) => {
  const account = await createAccount()
  const member = await createUser({ account })
  for (const as of [await assertedToken(member), await createApiKey(account, 'policy:read')]) {
    t.equal((await read(as)).statusCode, 200)
  }
  for (const as of [await createApiKey(account, 'policy:write'), OPERATOR_KEY]) {
    isProblem(t, await read(as), 403, 'insufficient-scope')
  }
  isProblem(t, await call('GET', '/v1/policy'), 401, 'invalid-credential')
})

t.test('200: a change returns the whole policy with the tag of its next version', async (t) => {
  const { apiKey: as } = await createAccount()
  const before = await etagOf(as)
  clock.advance({ minutes: 1 })
  const changed = await change(as, REQUIRED, before)
  t.equal(changed.statusCode, 200)
  t.match(changed.json(), {
    ...REQUIRED,
    effective: 'required',
    updatedAt: clock.now().toISOString()
  })
  t.not(changed.headers['etag'], before)
  const now = await read(as)
  t.same([now.json(), now.headers['etag']], [changed.json(), changed.headers['etag']])
})

t.test('200: a merge patch is accepted with its own media type (RFC 7396)', async (t) => {
  const { apiKey: as } = await createAccount()
  const headers = { 'if-match': '*', 'content-type': 'application/merge-patch+json' }
  const body = JSON.stringify(REQUIRED)
  const changed = await call('PATCH', '/v1/policy', { as, body, headers })
  t.match(changed.json(), REQUIRED)
  const nothing = await call('PATCH', '/v1/policy', { as, body: '{}', headers })
  t.match(nothing.json(), REQUIRED, 'a missing field does not change')
})

t.test('428: a change must name the version that it changes', async (t) => {
  const { apiKey: as } = await createAccount()
  isProblem(t, await change(as, REQUIRED), 428, 'precondition-required')
  t.match((await read(as)).json(), OPTIONAL)
})

t.test('412: an old and an unquoted tag are rejected', async (t) => {
  const { apiKey: as } = await createAccount()
  const first = await etagOf(as)
  await change(as, REQUIRED, first)
  const second = await etagOf(as)
  for (const ifMatch of [first, `W/${first}`, second.replaceAll('"', ''), '"x"', '""', ',']) {
    isProblem(t, await change(as, OPTIONAL, ifMatch), 412, 'etag-mismatch')
  }
  t.match((await read(as)).json(), REQUIRED)
  t.equal((await change(as, OPTIONAL, `"x", ${second}`)).statusCode, 200, 'one of a list')
  t.equal((await change(as, REQUIRED, '*')).statusCode, 200, 'any version')
})

t.test('412: of two concurrent changes of one version, exactly one succeeds', async (t) => {
  for (let round = 0; round < 5; round += 1) {
    const { apiKey: as } = await createAccount()
    const ifMatch = await etagOf(as)
    const answers = await Promise.all([REQUIRED, OPTIONAL].map((body) => change(as, body, ifMatch)))
    t.same(answers.map(({ statusCode }) => statusCode).sort(), [200, 412])
    const winner = answers.find(({ statusCode }) => statusCode === 200)
    t.same((await read(as)).json(), winner?.json())
  }
})

t.test('200: concurrent changes with `*` all succeed, one after the other', async (t) => {
  const account = await createAccount()
  const days = [1, 2, 3, 4, 5, 6]
  const answers = await Promise.all(
    days.map((graceDays) => change(account.apiKey, { graceDays }, '*'))
  )
  t.same(
    answers.map(({ statusCode }) => statusCode),
    days.map(() => 200)
  )
  t.equal(new Set(answers.map(({ headers }) => headers['etag'])).size, days.length)
})

t.test('403 comes before 400, and 400 comes before 428 and 412', async (t) => {
  const account = await createAccount()
  const answer = await change(account.apiKey, { twoFactor: 'sometimes' })
  t.same(pointersOf(isProblem(t, answer, 400, 'invalid-request')), ['/twoFactor'])
  for (const body of [{ requiredFrom: '2016-12-31T23:59:60Z' }, { sso: { issuer: 'https://[' } }]) {
    isProblem(t, await change(account.apiKey, body), 400, 'invalid-request')
  }
  for (const body of [{ twoFactor: null }, { two_factor: 'required' }, [], 1, null]) {
    isProblem(t, await change(account.apiKey, body, '*'), 400, 'invalid-request')
  }
  const reader = await createApiKey(account, 'policy:read')
  isProblem(t, await change(reader, { twoFactor: 'sometimes' }), 403, 'insufficient-scope')
  const member = await enrolledUser({ account })
  isProblem(t, await change(await member.accessToken(), 1), 403, 'limited-access')
})

t.test('401: an admin needs a second factor from the last ten minutes', async (t) => {
  const account = await createAccount()
  const admin = await createUser({ account, role: 'admin' })
  const byPassword = await change(await assertedToken(admin), REQUIRED, '*')
  t.equal(isProblem(t, byPassword, 401, 'step-up-required')['next'], 'enroll')

  const enrolled = await service.enrolled(admin)
  const as = await enrolled.accessToken()
  clock.advance({ seconds: 600 })
  t.equal((await change(as, REQUIRED, '*')).statusCode, 200, 'ten minutes are fresh')
  clock.advance({ seconds: 1 })
  const stale = await change(as, OPTIONAL, '*')
  t.equal(isProblem(t, stale, 401, 'step-up-required')['next'], 'verify')
  t.match((await read(as)).json(), REQUIRED)
})

const DAY_MS = 86_400_000
const inDays = (count: number) => new Date(clock.now().getTime() + count * DAY_MS).toISOString()
const mandate = (accountId: string, body: object, as: string = OPERATOR_KEY) =>
  call('PUT', `/v1/accounts/${accountId}/mandate`, { as, body })
const NO_MANDATE = { locked: false, requiredFrom: null, reason: null, source: null }
const DEFAULTS = {
  ...{ twoFactor: 'optional', appliesTo: 'everyone', requiredFrom: null, graceDays: 0 },
  trustedDevices: { allowed: false, days: 30 },
  sso: { mode: 'off', issuer: null, clientId: null, trustEmail: false },
  mandate: NO_MANDATE,
  effective: 'optional',
  support: null
}

t.test('200: each field changes alone, and the others keep their defaults', async (t) => {
  const { apiKey: as } = await createAccount()
  t.same((await read(as)).json(), { ...DEFAULTS, updatedAt: clock.now().toISOString() })
  const requiredFrom = inDays(3)
  const sso = { mode: 'optional', issuer: 'https://login.example.com', clientId: 'client-1' }
  for (const [patch, expected] of [
    [{ requiredFrom }, { requiredFrom }],
    [{ requiredFrom: '2026-06-01T12:00:00+02:00' }, { requiredFrom: '2026-06-01T10:00:00.000Z' }],
    [{ requiredFrom: null }, { requiredFrom: null }],
    [{ graceDays: 14 }, { graceDays: 14 }],
    [{ appliesTo: 'admins' }, { appliesTo: 'admins' }],
    [{ trustedDevices: { allowed: true } }, { trustedDevices: { allowed: true, days: 30 } }],
    [{ trustedDevices: { days: 7 } }, { trustedDevices: { allowed: true, days: 7 } }],
    [{ sso }, { sso }],
    [{ sso: { mode: 'off' } }, { sso: { ...sso, mode: 'off' } }],
    [{ sso: { issuer: null } }, { sso: { ...sso, mode: 'off', issuer: null } }]
  ] as const) {
    t.match((await change(as, patch, '*')).json(), expected, JSON.stringify(patch))
  }
})

t.test('400: an invalid value is rejected, and the problem names the field', async (t) => {
  const { apiKey: as } = await createAccount()
  const before = (await read(as)).json()
  const issuer = 'https://login.example.com'
  for (const [body, pointer] of [
    [{ requiredFrom: 'tomorrow' }, '/requiredFrom'],
    [{ requiredFrom: '2016-12-31T23:59:60Z' }, '/requiredFrom'],
    [{ appliesTo: 'members' }, '/appliesTo'],
    [{ graceDays: -1 }, '/graceDays'],
    [{ graceDays: 366 }, '/graceDays'],
    [{ graceDays: 1.5 }, '/graceDays'],
    [{ graceDays: '7' }, '/graceDays'],
    [{ trustedDevices: { days: 0 } }, '/trustedDevices/days'],
    [{ trustedDevices: { forever: true } }, '/trustedDevices/forever'],
    [{ sso: { mode: 'optional' } }, '/sso/issuer'],
    [{ sso: { mode: 'required', issuer } }, '/sso/clientId'],
    [{ sso: { mode: 'sometimes' } }, '/sso/mode'],
    [{ sso: { issuer: 'ftp://login.example.com' } }, '/sso/issuer'],
    [{ sso: { issuer: 'https://user@login.example.com' } }, '/sso/issuer'],
    ...['a\u0000b', 'a\u0001b', 'a b', 'a\ud800b', 'a?b', 'a#b', '/b', '[', 'a:99999', 'a\\b'].map(
      (rest) => [{ sso: { issuer: `https://${rest}` } }, '/sso/issuer'] as const
    ),
    [{ ...REQUIRED, requiredFrom: '9999-12-31T00:00:00Z', graceDays: 1 }, '/graceDays'],
    [{ effective: 'optional' }, '/effective'],
    [{ mandate: { locked: false } }, '/mandate']
  ] as const) {
    const answer = await change(as, body, '*')
    const pointers = pointersOf(isProblem(t, answer, 400, 'invalid-request'))
    t.ok(pointers[0]?.startsWith(pointer), `${JSON.stringify(body)}: ${pointers}`)
    const previewed = await call('POST', '/v1/policy/preview', { as, body })
    t.same(pointersOf(isProblem(t, previewed, 400, 'invalid-request')), pointers)
  }
  t.same((await read(as)).json(), before)
})

t.test(
  '403: a mandate in force locks the policy, and the problem has its date and reason',
  async (t) => {
    const account = await createAccount()
    const as = account.apiKey
    const requiredFrom = inDays(1)
    const set = await mandate(account.id, { requiredFrom, reason: 'Contract of May' })
    const shown = { locked: false, requiredFrom, reason: 'Contract of May', source: 'account' }
    t.same([set.statusCode, set.json()], [200, shown])
    t.match((await change(as, { ...OPTIONAL, graceDays: 2 }, '*')).json(), { mandate: shown })
    const before = await etagOf(as)

    clock.advance({ minutes: 24 * 60 })
    t.match((await read(as)).json(), {
      ...{ twoFactor: 'optional', effective: 'required' },
      mandate: { ...shown, locked: true }
    })
    t.not(await etagOf(as), before, 'another representation has another tag')
    for (const body of [OPTIONAL, REQUIRED, { requiredFrom: null }, { graceDays: 2 }]) {
      const locked = isProblem(t, await change(as, body, '*'), 403, 'policy-locked')
      t.match(locked, { mandate: { requiredFrom, reason: 'Contract of May', source: 'account' } })
      t.match(locked['detail'], /Contract of May/)
      const previewed = await call('POST', '/v1/policy/preview', { as, body })
      isProblem(t, previewed, 403, 'policy-locked')
    }
    const devices = { trustedDevices: { allowed: true } }
    t.match((await change(as, devices, '*')).json(), {
      trustedDevices: { allowed: true, days: 30 }
    })

    t.same((await mandate(account.id, { requiredFrom: null })).json(), NO_MANDATE)
    t.equal((await change(as, OPTIONAL, '*')).statusCode, 200)
  }
)

t.test('only the operator sets a mandate, and it is audited', async (t) => {
  const account = await createAccount()
  const admin = await enrolledUser({ account, role: 'admin' })
  const body = { requiredFrom: inDays(-1) }
  for (const as of [account.apiKey, await admin.accessToken()]) {
    isProblem(t, await mandate(account.id, body, as), 403, 'insufficient-scope')
  }
  const unknown = '0198c0de-7a51-7cc2-9a3b-5b1d0c4f2e11'
  isProblem(t, await mandate(unknown, body), 404, 'account-not-found')
  for (const wrong of [{}, { requiredFrom: 'now' }, { requiredFrom: null, reason: '' }]) {
    isProblem(t, await mandate(account.id, wrong), 400, 'invalid-request')
  }
  t.match(
    (await mandate(account.id, body)).json(),
    { locked: true },
    'an instant in the past is valid'
  )
  const trail = await call('GET', '/v1/audit-events?type=mandate.set', { as: account.apiKey })
  t.match(
    trail.json().items.map(({ outcome }: { outcome: string }) => outcome),
    ['succeeded', 'refused', 'refused']
  )
})

t.test('200: MANDATE_FROM applies to every account of the deployment', async (t) => {
  const from = inDays(2)
  const own = await startApp(t, { env: { MANDATE_FROM: from }, clock })
  const account = await own.createAccount()
  const policy = async () => (await own.call('GET', '/v1/policy', { as: account.apiKey })).json()
  const shown = { locked: false, requiredFrom: from, reason: null, source: 'deployment' }
  t.match(await policy(), { mandate: shown, effective: 'optional' })
  clock.advance({ minutes: 2 * 24 * 60 })
  t.match(await policy(), { mandate: { ...shown, locked: true }, effective: 'required' })
  const user = await own.createUser({ account })
  t.match((await own.login(user)).json(), { status: 'enrollment_required', reason: 'mandated' })
})

t.test('200: a preview names users only to an admin and to a key that reads users', async (t) => {
  const account = await createAccount()
  const { id, email } = await createUser({ account })
  const preview = async (...scopes: string[]) =>
    call('POST', '/v1/policy/preview', {
      as: await createApiKey(account, ...scopes),
      body: REQUIRED
    })
  const counts = { wouldEnroll: 1, exempt: 0, unaffected: 0 }
  const blind = (await preview('policy:write')).json()
  t.match(blind, counts)
  t.notOk('sample' in blind)
  t.match((await preview('policy:write', 'users:read')).json(), {
    ...counts,
    sample: [{ id, email }]
  })
})

t.test('200: a preview counts the affected users and changes nothing', async (t) => {
  const account = await createAccount()
  const admin = await enrolledUser({ account, role: 'admin' })
  const [first, second, gone] = [
    await createUser({ account }),
    await createUser({ account }),
    await createUser({ account })
  ]
  await call('PATCH', `/v1/users/${gone.id}`, { as: account.apiKey, body: { disabled: true } })
  const preview = (body: object, as = account.apiKey) =>
    call('POST', '/v1/policy/preview', { as, body })
  const before = await read(account.apiKey)
  const now = clock.now().toISOString()
  const sample = [first, second].map(({ id, email }) => ({ id, email }))
  const all = { wouldEnroll: 2, exempt: 0, unaffected: 1, sample }
  t.same((await preview(REQUIRED)).json(), { ...all, from: now })
  t.same((await preview(REQUIRED, await admin.accessToken())).json(), { ...all, from: now })
  const later = { ...REQUIRED, requiredFrom: inDays(3), graceDays: 4 }
  t.same((await preview(later)).json(), { ...all, from: inDays(7) })
  const none = { wouldEnroll: 0, exempt: 0, unaffected: 3, from: null, sample: [] }
  t.same((await preview({})).json(), none)
  const sso = { mode: 'required', issuer: 'https://login.example.com', clientId: 'client-1' }
  const exempt = { wouldEnroll: 0, exempt: 3, unaffected: 0, from: now, sample: [] }
  t.same((await preview({ ...REQUIRED, sso })).json(), exempt)
  t.same(
    [(await read(account.apiKey)).body, await etagOf(account.apiKey)],
    [before.body, before.headers['etag']]
  )
  const member = await enrolledUser({ account })
  isProblem(t, await preview(REQUIRED, await member.accessToken()), 403, 'limited-access')
  isProblem(t, await preview({ graceDays: -1 }), 400, 'invalid-request')
})

t.test('200: the effect of the policy on one user, with its reason', async (t) => {
  const account = await createAccount()
  const [user, enrolled] = [await createUser({ account }), await enrolledUser({ account })]
  const admin = await enrolledUser({ account, role: 'admin' })
  const explain = (id: string, as = account.apiKey) => call('GET', `/v1/users/${id}/policy`, { as })
  t.same((await explain(user.id)).json(), {
    ...{ userId: user.id, outcome: 'authenticated', reason: 'not_required' },
    ...{ required: false, requirement: null, exempt: false },
    ...{ requiredFrom: null, mandate: NO_MANDATE }
  })
  t.match((await explain('me', await enrolled.accessToken())).json(), {
    ...{ userId: enrolled.id, outcome: 'verification_required', reason: 'user_enabled' }
  })
  await change(account.apiKey, { ...REQUIRED, graceDays: 5 }, '*')
  t.match((await explain(user.id, await admin.accessToken())).json(), {
    ...{ outcome: 'authenticated', reason: 'grace_period', required: true, requiredFrom: inDays(5) }
  })
  await mandate(account.id, { requiredFrom: inDays(-1), reason: 'Contract' })
  t.match((await explain(user.id)).json(), {
    ...{ outcome: 'enrollment_required', reason: 'mandated' },
    mandate: { locked: true, reason: 'Contract' }
  })
  t.match((await explain(enrolled.id)).json(), { reason: 'mandated' })
  const stranger = await createUser({ account: await createAccount() })
  isProblem(t, await explain(stranger.id), 404, 'user-not-found')
  isProblem(t, await explain(admin.id, await enrolled.accessToken()), 403, 'limited-access')
})
