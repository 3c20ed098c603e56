import t from 'tap'
import { OPERATOR_KEY, startApp, type TestAccount, UNKNOWN } from '../../support/app.ts'
import { isProblem, pointersOf, tellTales } from '../../support/problems.ts'

const { call, clock, createAccount, createApiKey, createUser, assertedToken } = await startApp(t)

interface NewKey {
  id: string
  key: string
}

async function createKey(as: string, body: object): Promise<NewKey> {
  const answer = await call('POST', '/v1/api-keys', { as, body: { name: 'A key', ...body } })
  if (answer.statusCode !== 201) throw new Error(answer.body)
  return answer.json()
}

const listOf = async (as: string, query = '') => call('GET', `/v1/api-keys${query}`, { as })

async function keyOf({ apiKey }: TestAccount, id: string) {
  const { items } = (await listOf(apiKey)).json()
  return items.find((item: { id: string }) => item.id === id)
}

t.test('201: a key is shown once, and the list has the time of its last use', async (t) => {
  const account = await createAccount()
  const createdAt = clock.now().toISOString()
  const body = { accountId: account.id, name: 'Roster reader', scopes: ['users:read'] }
  const answer = await call('POST', '/v1/api-keys', { as: OPERATOR_KEY, body })
  t.equal(answer.statusCode, 201)
  const { id, key, ...rest } = answer.json()
  t.same(rest, {
    ...{ name: 'Roster reader', scopes: ['users:read'], createdAt, expiresAt: null },
    createdBy: { kind: 'operator', id: 'operator0001' }
  })
  t.match(key, new RegExp(`^tsk_${id}_[A-Za-z0-9_-]{43}$`))

  const listed = {
    ...{ id, accountId: account.id, name: 'Roster reader', scopes: ['users:read'] },
    ...{ createdAt, expiresAt: null, lastUsedAt: null },
    createdBy: { kind: 'operator', id: 'operator0001' }
  }
  t.same(await keyOf(account, id), listed, 'without the key')
  t.notMatch((await listOf(account.apiKey)).body, /tsk_/)

  clock.advance({ minutes: 5 })
  t.equal((await call('GET', '/v1/users', { as: key })).statusCode, 200)
  const usedAt = clock.now().toISOString()
  // The service notes the use after the response, so it may come after the next request.
  for (let tries = 0; tries < 50 && !(await keyOf(account, id)).lastUsedAt; tries += 1);
  t.same(await keyOf(account, id), { ...listed, lastUsedAt: usedAt })
})

t.test('401: a key is rejected from the instant of its expiry', async (t) => {
  const account = await createAccount()
  const expiresAt = new Date(clock.now().getTime() + 60_000).toISOString()
  const { key } = await createKey(account.apiKey, { scopes: ['users:read'], expiresAt })
  clock.advance({ seconds: 59 })
  t.equal((await call('GET', '/v1/users', { as: key })).statusCode, 200)
  clock.advance({ seconds: 1 })
  isProblem(t, await call('GET', '/v1/users', { as: key }), 401, 'invalid-credential')
})

t.test('400: an instant that does not exist or cannot be stored is rejected', async (t) => {
  const account = await createAccount()
  for (const expiresAt of [
    '2016-12-31T23:59:60Z',
    '2026-01-05T09:00:00+02',
    '0000-06-01T00:00:00Z',
    '0001-01-01T00:00:00+00:01',
    '9999-12-31T23:59:59-00:01'
  ]) {
    const body = { name: 'Short', scopes: ['users:read'], expiresAt }
    const answer = await call('POST', '/v1/api-keys', { as: account.apiKey, body })
    t.same(pointersOf(isProblem(t, answer, 400, 'invalid-request')), ['/expiresAt'], expiresAt)
  }
  t.equal((await listOf(account.apiKey)).json().items.length, 1)
  for (const expiresAt of ['0001-01-01T00:00:00.000Z', '9999-12-31T23:59:59.999Z']) {
    const { id } = await createKey(account.apiKey, { scopes: ['users:read'], expiresAt })
    t.match(await keyOf(account, id), { expiresAt })
  }
})

t.test('401: a revoked key is rejected immediately and is not listed', async (t) => {
  const account = await createAccount()
  const { id, key } = await createKey(account.apiKey, { scopes: ['users:read', 'keys:write'] })
  t.equal((await call('GET', '/v1/users', { as: key })).statusCode, 200)
  const revoked = await call('DELETE', `/v1/api-keys/${id}`, { as: key })
  t.same([revoked.statusCode, revoked.body], [204, ''], 'a key may revoke itself')
  isProblem(t, await call('GET', '/v1/users', { as: key }), 401, 'invalid-credential')
  t.equal(await keyOf(account, id), undefined)
  const again = await call('DELETE', `/v1/api-keys/${id}`, { as: account.apiKey })
  isProblem(t, again, 404, 'not-found')
})

t.test('401: a key with another secret, id or prefix is rejected', async (t) => {
  const { apiKey } = await createAccount()
  const [, id = ''] = apiKey.split('_')
  for (const as of [
    `${apiKey.slice(0, -2)}${apiKey.endsWith('AA') ? 'BB' : 'AA'}`,
    apiKey.replace(id, 'aaaaaaaaaaaa'),
    apiKey.replace('tsk_', 'tso_'),
    apiKey.replace('tsk_', 'TSK_'),
    `tsk_${id}_`,
    'tsk_',
    `${apiKey}x`
  ]) {
    isProblem(t, await call('GET', '/v1/users', { as }), 401, 'invalid-credential')
  }
})

t.test('403: a key creates no key with scopes that it lacks', async (t) => {
  const account = await createAccount()
  const maker = await createApiKey(account, 'keys:write', 'users:read')
  const within = await call('POST', '/v1/api-keys', {
    as: maker,
    body: { name: 'Less', scopes: ['users:read'] }
  })
  t.equal(within.statusCode, 201)
  for (const scopes of [
    ['users:write'],
    ['users:read', 'policy:write'],
    ['keys:write', 'audit:read']
  ]) {
    const answer = await call('POST', '/v1/api-keys', { as: maker, body: { name: 'More', scopes } })
    isProblem(t, answer, 403, 'insufficient-scope')
  }
  t.equal(
    (await listOf(account.apiKey)).json().items.length,
    3,
    'the refused requests created no key'
  )
})

t.test('403: keys without keys:write and users are refused', async (t) => {
  const account = await createAccount()
  const reader = await createApiKey(account, 'users:read')
  const admin = await assertedToken(await createUser({ account, role: 'admin' }))
  const body = { name: 'X', scopes: ['users:read'] }
  for (const as of [reader, admin]) {
    isProblem(t, await call('POST', '/v1/api-keys', { as, body }), 403, 'insufficient-scope')
    isProblem(t, await listOf(as), 403, 'insufficient-scope')
    const remove = await call('DELETE', '/v1/api-keys/aaaaaaaaaaaa', { as })
    isProblem(t, remove, 403, 'insufficient-scope')
  }
})

t.test('404: another account and its keys get the response of unknown ones', async (t) => {
  const [own, other] = [await createAccount(), await createAccount()]
  const [, otherKeyId] = other.apiKey.split('_')
  const as = own.apiKey
  const create = (accountId: string) =>
    call('POST', '/v1/api-keys', { as, body: { accountId, name: 'X', scopes: ['users:read'] } })
  const foreign = await create(other.id)
  isProblem(t, foreign, 404, 'account-not-found')
  t.same(tellTales(foreign), tellTales(await create(UNKNOWN)))
  t.equal((await create(own.id)).statusCode, 201, 'its own account may be named')

  const revoke = (id: string | undefined) => call('DELETE', `/v1/api-keys/${id}`, { as })
  const refused = await revoke(otherKeyId)
  isProblem(t, refused, 404, 'not-found')
  t.same(tellTales(refused), tellTales(await revoke('aaaaaaaaaaaa')))
  t.equal(
    (await call('GET', '/v1/users', { as: other.apiKey })).statusCode,
    200,
    'the key still works'
  )

  const list = (accountId: string) => listOf(as, `?accountId=${accountId}`)
  t.same(tellTales(await list(other.id)), tellTales(await list(UNKNOWN)))
})

t.test('the operator creates, lists and revokes keys of every account', async (t) => {
  const account = await createAccount()
  const as = OPERATOR_KEY
  const nameless = await call('POST', '/v1/api-keys', {
    as,
    body: { name: 'X', scopes: ['introspect'] }
  })
  t.same(pointersOf(isProblem(t, nameless, 400, 'invalid-request')), ['/accountId'])
  const body = { accountId: UNKNOWN, name: 'X', scopes: ['introspect'] }
  isProblem(t, await call('POST', '/v1/api-keys', { as, body }), 404, 'account-not-found')

  const { id, key } = await createKey(as, { accountId: account.id, scopes: ['users:read'] })
  const all = (await listOf(as, '?limit=200')).json().items
  const ofOne = (await listOf(as, `?accountId=${account.id}`)).json().items
  t.equal(ofOne.length, 2)
  t.ok(all.length > ofOne.length)
  t.equal((await call('DELETE', `/v1/api-keys/${id}`, { as })).statusCode, 204)
  isProblem(t, await call('GET', '/v1/users', { as: key }), 401, 'invalid-credential')
})

t.test('400: unknown, duplicate and missing scopes are rejected', async (t) => {
  const { apiKey: as } = await createAccount()
  for (const scopes of [[], ['users'], ['users:read', 'users:read'], 'users:read', ['*'], null]) {
    const answer = await call('POST', '/v1/api-keys', { as, body: { name: 'X', scopes } })
    const [pointer = ''] = pointersOf(isProblem(t, answer, 400, 'invalid-request'))
    t.match(pointer, /^\/scopes/, JSON.stringify(scopes))
  }
})

t.test('200: pages have no gap and no duplicate', async (t) => {
  const account = await createAccount()
  for (let made = 0; made < 4; made += 1)
    await createKey(account.apiKey, { scopes: ['introspect'] })
  const ids: string[] = []
  let cursor: string | null = null
  do {
    const query: string = `?limit=2${cursor === null ? '' : `&cursor=${cursor}`}`
    const page = (await listOf(account.apiKey, query)).json()
    ids.push(...page.items.map(({ id }: NewKey) => id))
    cursor = page.nextCursor
  } while (cursor !== null)
  t.equal(new Set(ids).size, 5)
  t.equal(ids.length, 5)
})
