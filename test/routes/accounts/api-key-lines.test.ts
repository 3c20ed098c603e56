// What an API key makes and revokes: nothing that a key creates outlives or exceeds it, and one request revokes a leaked key
// with everything that it led to.
import t from 'tap'
import { OPERATOR_KEY, startApp, type TestAccount } from '../../support/app.ts'
import { isProblem, pointersOf } from '../../support/problems.ts'

const { call, clock, createAccount, database } = await startApp(t)

interface NewKey {
  id: string
  key: string
  expiresAt: string | null
  createdBy: object
}

const MAKER = { scopes: ['keys:write', 'users:read'] }

async function createKey(as: string, body: object = MAKER): Promise<NewKey> {
  const answer = await call('POST', '/v1/api-keys', { as, body: { name: 'A key', ...body } })
  if (answer.statusCode !== 201) throw new Error(answer.body)
  return answer.json()
}

const revoke = (as: string, { id }: { id: string }, query = '') =>
  call('DELETE', `/v1/api-keys/${id}${query}`, { as })

async function idsOf({ apiKey, id }: TestAccount): Promise<string[]> {
  const { items } = (
    await call('GET', `/v1/api-keys?limit=200&accountId=${id}`, { as: OPERATOR_KEY })
  ).json()
  const first = apiKey.split('_')[1]
  return items.map((item: NewKey) => item.id).filter((found: string) => found !== first)
}

/** Returns five keys: the first makes two, the second of which makes one more, and one apart from them. */
async function family() {
  const account = await createAccount()
  const leaked = await createKey(account.apiKey)
  const child = await createKey(leaked.key)
  const other = await createKey(leaked.key, { scopes: ['users:read'] })
  const grandchild = await createKey(child.key)
  const apart = await createKey(account.apiKey)
  return { account, leaked, child, other, grandchild, apart }
}

t.test('201: a key expires with the key that created it', async (t) => {
  const account = await createAccount()
  const expiresAt = new Date(clock.now().getTime() + 3000).toISOString()
  const maker = await createKey(account.apiKey, { ...MAKER, expiresAt })
  const earlier = new Date(clock.now().getTime() + 1000).toISOString()
  t.equal((await createKey(maker.key)).expiresAt, expiresAt, 'without a time of its own')
  t.equal((await createKey(maker.key, { ...MAKER, expiresAt })).expiresAt, expiresAt)
  const child = await createKey(maker.key, { ...MAKER, expiresAt: earlier })
  t.equal(child.expiresAt, earlier)
  t.equal((await createKey(child.key)).expiresAt, earlier, 'in the second generation')
})

t.test(
  '204: a family of many keys is revoked in one request, each with its own event',
  async (t) => {
    const account = await createAccount()
    const leaked = await createKey(account.apiKey)
    const row = await database.prisma.apiKey.findFirstOrThrow({ where: { id: leaked.id } })
    const many = Array.from({ length: 500 }, (_, index) => ({
      ...row,
      id: String(index).padStart(12, '0'),
      makers: [leaked.id]
    }))
    await database.prisma.apiKey.createMany({ data: many })
    t.equal((await revoke(account.apiKey, leaked, '?descendants=true')).statusCode, 204)
    const where = { accountId: account.id, type: 'api_key.revoke' }
    t.equal(await database.prisma.auditEvent.count({ where }), 501)
    const [mail] = await database.prisma.outboxMail.findMany({
      where: { accountId: account.id, kind: 'api_keys_revoked' }
    })
    t.notOk(mail, 'the account has no admin to notify')
  }
)

t.test('409: a line of keys ends with its sixteenth key', async (t) => {
  const account = await createAccount()
  // The first key of the account is the first key of the line.
  const line = [account.apiKey]
  while (line.length < 16) line.push((await createKey(line.at(-1) ?? '')).key)
  const [second = '', last = ''] = [line[1], line[15]]
  const body = { name: 'Too far', ...MAKER }
  const headers = { 'idempotency-key': 'a-line-of-keys' }
  for (const repeated of [{}, { headers }, { headers }]) {
    const answer = await call('POST', '/v1/api-keys', { as: last, body, ...repeated })
    isProblem(t, answer, 409, 'too-many-generations')
  }
  t.equal((await idsOf(account)).length, 15, 'nothing is created')
  t.equal((await call('GET', '/v1/users', { as: last })).statusCode, 200, 'the last key works')
  t.equal((await createKey(line[14] ?? '')).key.slice(0, 4), 'tsk_', 'its maker creates more')
  const [, id = ''] = second.split('_')
  t.equal((await revoke(account.apiKey, { id })).statusCode, 204)
  // A gap in the line does not shorten it.
  const answer = await call('POST', '/v1/api-keys', { as: last, body })
  isProblem(t, answer, 409, 'too-many-generations')
})

t.test('400: a key creates no key that expires later than itself', async (t) => {
  const account = await createAccount()
  const at = clock.now().getTime()
  const expiresAt = new Date(at + 3000).toISOString()
  const { key: as } = await createKey(account.apiKey, { ...MAKER, expiresAt })
  for (const later of [new Date(at + 3001).toISOString(), '9999-12-31T23:59:59.999Z']) {
    const body = { ...MAKER, name: 'Later', expiresAt: later }
    const answer = await call('POST', '/v1/api-keys', { as, body })
    t.same(pointersOf(isProblem(t, answer, 400, 'invalid-request')), ['/expiresAt'])
  }
  t.equal((await idsOf(account)).length, 1)
  const byOperator = { ...MAKER, accountId: account.id, expiresAt: '9999-12-31T23:59:59.999Z' }
  t.match(await createKey(OPERATOR_KEY, byOperator), { expiresAt: byOperator.expiresAt })
})

t.test('201: a key shows the credential that created it', async (t) => {
  const account = await createAccount()
  const [, first = ''] = account.apiKey.split('_')
  const child = await createKey(account.apiKey)
  t.same(child.createdBy, { kind: 'api_key', id: first })
  const byOperator = await createKey(OPERATOR_KEY, { ...MAKER, accountId: account.id })
  t.same(byOperator.createdBy, { kind: 'operator', id: 'operator0001' })
  const { items } = (await call('GET', '/v1/api-keys', { as: account.apiKey })).json()
  const shown = new Map(items.map(({ id, createdBy }: NewKey) => [id, createdBy]))
  t.same(shown.get(first), { kind: 'operator', id: 'operator0001' }, 'the first key too')
  t.same(shown.get(child.id), child.createdBy)
})

t.test('403: a key revokes only keys whose scopes it has', async (t) => {
  const account = await createAccount()
  const more = await createKey(account.apiKey, { scopes: ['users:read', 'policy:write'] })
  const { key: as } = await createKey(account.apiKey)
  isProblem(t, await revoke(as, more), 403, 'insufficient-scope')
  isProblem(t, await revoke(as, more, '?descendants=true'), 403, 'insufficient-scope')
  t.ok((await idsOf(account)).includes(more.id))
  const less = await createKey(account.apiKey, { scopes: ['users:read'] })
  t.equal((await revoke(as, less)).statusCode, 204)
  t.equal((await revoke(OPERATOR_KEY, more)).statusCode, 204, 'the operator revokes every key')
})

t.test('204: without descendants, only the key itself is revoked', async (t) => {
  const { account, leaked, child, other, grandchild, apart } = await family()
  t.equal((await revoke(account.apiKey, leaked)).statusCode, 204)
  t.same(
    (await idsOf(account)).sort(),
    [child, other, grandchild, apart].map(({ id }) => id).sort()
  )
})

t.test('204: with descendants, all generations are revoked, and nothing else', async (t) => {
  const { account, leaked, child, other, grandchild, apart } = await family()
  t.equal((await revoke(account.apiKey, leaked, '?descendants=true')).statusCode, 204)
  t.same(await idsOf(account), [apart.id])
  for (const { key: as } of [leaked, child, other, grandchild]) {
    isProblem(t, await call('GET', '/v1/users', { as }), 401, 'invalid-credential')
  }
  const { items } = (
    await call('GET', '/v1/audit-events?type=api_key.revoke', { as: account.apiKey })
  ).json()
  t.same(
    items.map((event: { target: { id: string } }) => event.target.id).sort(),
    [leaked, child, other, grandchild].map(({ id }) => id).sort(),
    'each with an audit event'
  )
})

t.test('204: a key that revokes itself leaves no descendant out of reach', async (t) => {
  const { account, leaked, child, apart } = await family()
  t.equal((await revoke(child.key, child)).statusCode, 204, 'a gap in the line')
  t.equal((await revoke(leaked.key, leaked)).statusCode, 204, 'the head of the line')
  isProblem(t, await revoke(account.apiKey, leaked), 404, 'not-found')
  t.equal((await revoke(account.apiKey, leaked, '?descendants=true')).statusCode, 204)
  t.same(await idsOf(account), [apart.id])
  isProblem(t, await revoke(account.apiKey, leaked, '?descendants=true'), 404, 'not-found')
})

t.test('404: descendants of a key of another account are not reached', async (t) => {
  const { account, leaked } = await family()
  const { apiKey: as } = await createAccount()
  isProblem(t, await revoke(as, leaked, '?descendants=true'), 404, 'not-found')
  t.equal((await idsOf(account)).length, 5)
})

t.test('no key is created by a key that is revoked at the same time', async (t) => {
  for (let round = 0; round < 5; round += 1) {
    const { account, leaked, child, apart } = await family()
    const body = { name: 'Late', ...MAKER }
    const makers = [leaked, child, leaked, child]
    const answers = await Promise.all([
      ...makers.map(({ key: as }) => call('POST', '/v1/api-keys', { as, body })),
      revoke(account.apiKey, leaked, '?descendants=true'),
      ...makers.map(({ key: as }) => call('POST', '/v1/api-keys', { as, body }))
    ])
    t.same(
      answers
        .map(({ statusCode }) => statusCode)
        .filter((status) => ![201, 204, 401].includes(status)),
      []
    )
    t.same(await idsOf(account), [apart.id])
  }
})

t.test('a key of the previous release keeps what it could do', async (t) => {
  const account = await createAccount()
  const { prisma } = database
  const all = ['users:read', 'users:write', 'users:reset', 'login:assert', 'login:assert-sso']
  const every = [...all, 'policy:read', 'policy:write', 'audit:read', 'introspect', 'keys:write']
  const cases = [
    { had: ['policy:write'], has: ['policy:write', 'sso:write'] },
    { had: ['users:write', 'users:read'], has: ['users:write', 'users:read', 'admins:write'] },
    { had: ['users:read', 'keys:write'], has: ['users:read', 'keys:write'] },
    { had: every, has: [...every, 'sso:write', 'admins:write', 'webhooks:write'] }
  ]
  for (const [index, { had, has }] of cases.entries()) {
    const id = `previous000${index}`
    // The previous release does not know the columns of the creator.
    await prisma.$executeRaw`
      INSERT INTO "ApiKey" ("accountId", id, "secretHash", name, scopes, "createdAt")
      VALUES (${account.id}::uuid, ${id}, '\\x00', 'Previous', ${had}, now())`
    const row = await prisma.apiKey.findUniqueOrThrow({ where: { id } })
    t.same(row.scopes, has)
  }
  const { id } = await createKey(account.apiKey, { scopes: ['policy:write'] })
  const { scopes } = await prisma.apiKey.findUniqueOrThrow({ where: { id } })
  t.same(scopes, ['policy:write'], 'this release means the scopes that it stores')
})
