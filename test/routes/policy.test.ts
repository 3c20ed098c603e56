import t from 'tap'
import { OPERATOR_KEY, startApp } from '../support/app.ts'
import { isProblem, pointersOf } from '../support/problems.ts'

const service = await startApp(t)
const { assertedToken, call, clock, createAccount, createApiKey, createUser, enrolledUser } =
  service

const read = (as: string) => call('GET', '/v1/policy', { as })
const etagOf = async (as: string) => String((await read(as)).headers['etag'])
const change = (as: string, body: unknown, ifMatch?: string) =>
  call('PATCH', '/v1/policy', { as, body, ...(ifMatch && { headers: { 'if-match': ifMatch } }) })

const REQUIRED = { twoFactor: 'required' }
const OPTIONAL = { twoFactor: 'optional' }

t.test('200: a new account leaves it optional', async (t) => {
  const account = await createAccount()
  const answer = await read(account.apiKey)
  t.match(answer.json(), {
    ...OPTIONAL,
    effective: 'optional',
    updatedAt: clock.now().toISOString()
  })
  t.match(answer.headers['etag'], /^"[^"]+"$/, 'a strong tag')
})

t.test('200: everyone who has signed in may read it, and keys with policy:read', async (t) => {
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

t.test('200: a change answers the whole policy with the tag of its next version', async (t) => {
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

t.test('200: a merge patch as RFC 7396 names its media type', async (t) => {
  const { apiKey: as } = await createAccount()
  const headers = { 'if-match': '*', 'content-type': 'application/merge-patch+json' }
  const body = JSON.stringify(REQUIRED)
  const changed = await call('PATCH', '/v1/policy', { as, body, headers })
  t.match(changed.json(), REQUIRED)
  const nothing = await call('PATCH', '/v1/policy', { as, body: '{}', headers })
  t.match(nothing.json(), REQUIRED, 'what is not named stays')
})

t.test('428: a change must name the version it was made from', async (t) => {
  const { apiKey: as } = await createAccount()
  isProblem(t, await change(as, REQUIRED), 428, 'precondition-required')
  t.match((await read(as)).json(), OPTIONAL)
})

t.test('412: a version that is not the present one, or a weak or unquoted tag', async (t) => {
  const { apiKey: as } = await createAccount()
  const first = await etagOf(as)
  await change(as, REQUIRED, first)
  const second = await etagOf(as)
  for (const ifMatch of [first, `W/${second}`, second.replaceAll('"', ''), '"x"', '""', ',']) {
    isProblem(t, await change(as, OPTIONAL, ifMatch), 412, 'etag-mismatch')
  }
  t.match((await read(as)).json(), REQUIRED)
  t.equal((await change(as, OPTIONAL, `"x", ${second}`)).statusCode, 200, 'one of a list')
  t.equal((await change(as, REQUIRED, '*')).statusCode, 200, 'any version')
})

t.test('412: of two changes made from one version at once, one succeeds', async (t) => {
  for (let round = 0; round < 5; round += 1) {
    const { apiKey: as } = await createAccount()
    const ifMatch = await etagOf(as)
    const answers = await Promise.all([REQUIRED, OPTIONAL].map((body) => change(as, body, ifMatch)))
    t.same(answers.map(({ statusCode }) => statusCode).sort(), [200, 412])
    const winner = answers.find(({ statusCode }) => statusCode === 200)
    t.same((await read(as)).json(), winner?.json())
  }
})

t.test('400 comes before 428 and 412, 403 before all of them', async (t) => {
  const account = await createAccount()
  const answer = await change(account.apiKey, { twoFactor: 'sometimes' })
  t.same(pointersOf(isProblem(t, answer, 400, 'invalid-request')), ['/twoFactor'])
  for (const body of [{ twoFactor: null }, { two_factor: 'required' }, [], 1, null]) {
    isProblem(t, await change(account.apiKey, body, '*'), 400, 'invalid-request')
  }
  const reader = await createApiKey(account, 'policy:read')
  isProblem(t, await change(reader, { twoFactor: 'sometimes' }), 403, 'insufficient-scope')
  const member = await enrolledUser({ account })
  isProblem(t, await change(await member.accessToken(), 1), 403, 'limited-access')
})

t.test('401: an admin needs a second factor of the last ten minutes', async (t) => {
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
