// A client that got no response repeats its request with the same `Idempotency-Key`. Nothing is created twice.
import t from 'tap'
import { createStoredResponses } from '../../src/data/trail/stored-responses.ts'
import { OPERATOR_KEY, PASSWORD, startApp } from '../support/app.ts'
import { isProblem, pointersOf } from '../support/problems.ts'

const CORS = 'https://app.example.com'
const service = await startApp(t, { env: { CORS_ORIGINS: CORS } })
const { call, clock, createAccount, createApiKey, database } = service
const account = await createAccount()
const operator = OPERATOR_KEY

let made = 0
/** Returns a key that no request has used. */
function newKey(): string {
  made += 1
  return `8e03978e-40d5-43e8-bc93-${String(made).padStart(12, '0')}`
}

/** The three routes, each with a credential and a body that can succeed only once. */
const CREATIONS = [
  {
    path: '/v1/accounts',
    as: operator,
    body: { slug: 'once', name: 'Once', support: { url: 'https://acme.example/help', email: null } }
  },
  {
    path: '/v1/api-keys',
    as: operator,
    body: { accountId: account.id, name: 'once', scopes: ['users:read', 'introspect'] }
  },
  {
    path: '/v1/users',
    as: account.apiKey,
    body: { email: 'once@example.com', password: PASSWORD, role: 'admin' }
  }
] as const

for (const { path, as, body } of CREATIONS) {
  const headers = { 'idempotency-key': newKey() }
  const send = (sent: object = body, more: Parameters<typeof call>[2] = {}) =>
    call('POST', path, { as, body: sent, headers, ...more })

  t.test(`201: a repeated POST ${path} gets the first response`, async (t) => {
    const first = await send()
    t.equal(first.statusCode, 201, first.body)
    t.equal(first.headers['idempotent-replayed'], undefined)
    const reordered = Object.fromEntries(Object.entries(body).reverse())
    for (const again of [await send(), await send(reordered)]) {
      t.equal(again.statusCode, 201)
      t.equal(again.body, first.body)
      t.match(again.headers, {
        'idempotent-replayed': 'true',
        'cache-control': 'no-store',
        'content-type': /^application\/json/
      })
      t.not(again.headers['x-request-id'], first.headers['x-request-id'])
    }
    const { id } = first.json()
    const act = { targetId: id, outcome: 'succeeded' } as const
    t.equal(await database.prisma.auditEvent.count({ where: act }), 1, 'one act is audited')
  })

  t.test(`422: POST ${path} rejects another body under the same key`, async (t) => {
    const made = () =>
      Promise.all([
        database.prisma.account.findMany(),
        database.prisma.apiKey.findMany({ omit: { lastUsedAt: true } }),
        database.prisma.user.findMany(),
        database.prisma.storedResponse.findMany()
      ])
    const before = await made()
    const answer = await send({
      ...body,
      ...(path === '/v1/users' ? { role: 'member' } : { name: 'Other' })
    })
    isProblem(t, answer, 422, 'idempotency-key-reused')
    t.same(await made(), before, 'nothing is created or changed')
  })

  t.test(`400: POST ${path} rejects a malformed key`, async (t) => {
    for (const key of ['', 'a'.repeat(256), 'é']) {
      const answer = await send(body, { headers: { 'idempotency-key': key } })
      const problem = isProblem(t, answer, 400, 'invalid-request')
      t.same(pointersOf(problem), ['/idempotency-key'], key)
    }
  })
}

t.test('201: another credential, another route and another key are another request', async (t) => {
  const [first, second] = [
    await createApiKey(account, 'users:write'),
    await createApiKey(account, 'users:write', 'keys:write')
  ]
  const headers = { 'idempotency-key': newKey() }
  const create = (as: string, email: string) =>
    call('POST', '/v1/users', { as, headers, body: { email } })
  const one = await create(first, 'same-key@example.com')
  isProblem(t, await create(second, 'same-key@example.com'), 409, 'email-taken')
  const other = await create(second, 'other-key@example.com')
  t.equal(other.statusCode, 201)
  t.not(other.json().id, one.json().id)
  const body = { name: 'x', scopes: ['users:write'] }
  t.equal((await call('POST', '/v1/api-keys', { as: second, headers, body })).statusCode, 201)
})

t.test('409, 422: a refused request stores nothing, so its key can be used again', async (t) => {
  const headers = { 'idempotency-key': newKey() }
  const as = account.apiKey
  const create = (body: object) => call('POST', '/v1/users', { as, headers, body })
  isProblem(t, await create({ email: 'once@example.com' }), 409, 'email-taken')
  const weak = { email: 'weak@example.com', password: 'password' }
  isProblem(t, await create(weak), 422, 'weak-password')
  t.equal((await create({ email: 'strong@example.com' })).statusCode, 201)
})

t.test('429: guesses at the password of an earlier request are delayed and audited', async (t) => {
  const as = await createApiKey(account, 'users:write')
  const headers = { 'idempotency-key': newKey() }
  const create = (password: string) =>
    call('POST', '/v1/users', { as, headers, body: { email: 'guessed@example.com', password } })
  t.equal((await create(PASSWORD)).statusCode, 201)
  for (const guess of ['one', 'two', 'three', 'four']) {
    isProblem(t, await create(`guess number ${guess}`), 422, 'idempotency-key-reused')
  }
  isProblem(t, await create(PASSWORD), 429, 'too-many-attempts')
  const refused = { actorId: as.split('_')[1] ?? '', reason: 'idempotency-key-reused' }
  t.equal(await database.prisma.auditEvent.count({ where: refused }), 1, 'the others are folded')
})

t.test('401: the key of a revoked credential opens no stored response', async (t) => {
  const as = await createApiKey(account, 'users:write')
  const sent = {
    as,
    headers: { 'idempotency-key': newKey() },
    body: { email: 'revoked@example.com' }
  }
  t.equal((await call('POST', '/v1/users', sent)).statusCode, 201)
  await call('DELETE', `/v1/api-keys/${as.split('_')[1]}`, { as: operator })
  isProblem(t, await call('POST', '/v1/users', sent), 401, 'invalid-credential')
})

t.test('201: without the header, and on other routes, nothing is stored', async (t) => {
  const before = await database.prisma.storedResponse.count()
  await createAccount()
  const headers = { 'idempotency-key': newKey() }
  const asserted = { userId: (await service.createUser({ account })).id, firstFactor: 'pwd' }
  await call('POST', '/v1/login/assertion', { as: account.apiKey, headers, body: asserted })
  t.equal(await database.prisma.storedResponse.count(), before)
})

t.test('409: concurrent requests with one key create one account', async (t) => {
  const sent = {
    as: operator,
    headers: { 'idempotency-key': newKey() },
    body: { slug: 'racing', name: 'Racing' }
  }
  const answers = await Promise.all(
    Array.from({ length: 40 }, () => call('POST', '/v1/accounts', sent))
  )
  const bodies = new Set<string>()
  for (const answer of answers) {
    if (answer.statusCode === 201) bodies.add(answer.body)
    else {
      isProblem(t, answer, 409, 'idempotency-key-in-use')
      t.equal(answer.headers['retry-after'], '1')
    }
  }
  t.equal(bodies.size, 1)
  t.same([...bodies], [(await call('POST', '/v1/accounts', sent)).body])
})

t.test(
  'S26: the stored responses contain no API key, password or address in the clear',
  async (t) => {
    const sent = {
      as: operator,
      headers: { 'idempotency-key': newKey() },
      body: { slug: 'sealed', name: 'Sealed tenant' }
    }
    const { apiKey } = (await call('POST', '/v1/accounts', sent)).json()
    const rows = await database.prisma.storedResponse.findMany()
    t.ok(rows.length >= 5)
    const text = JSON.stringify(rows)
    for (const secret of [apiKey.key.slice(-43), apiKey.id, 'Sealed tenant', 'once@example.com']) {
      t.notOk(text.includes(secret), secret)
    }
    for (const { sealedResponse } of rows) t.match(sealedResponse, /^1\.test\.[\w-]+$/)
  }
)

t.test('a stored response cannot be moved to another request', async (t) => {
  const [one, other] = [newKey(), newKey()]
  const create = (key: string, slug: string) =>
    call('POST', '/v1/accounts', {
      as: operator,
      headers: { 'idempotency-key': key },
      body: { slug, name: 'X' }
    })
  await create(one, 'moved-one')
  const known = new Set((await database.prisma.storedResponse.findMany()).map(({ id }) => id))
  await create(other, 'moved-other')
  const rows = await database.prisma.storedResponse.findMany()
  const moved = rows.find(({ id }) => known.has(id))
  const target = rows.find(({ id }) => !known.has(id))
  if (!moved || !target) throw new Error('no rows')
  const { accountId, id } = target
  await database.prisma.storedResponse.update({
    where: { accountId_id: { accountId, id } },
    data: { sealedResponse: moved.sealedResponse }
  })
  const answer = await service.app.inject({
    method: 'POST',
    url: '/v1/accounts',
    headers: { authorization: `Bearer ${operator}`, 'idempotency-key': other },
    payload: { slug: 'moved-other', name: 'X' }
  })
  isProblem(t, answer, 500, 'internal')
})

t.test('a page may read whether a response is a repetition', async (t) => {
  const { headers } = await call('GET', '/health/live', { headers: { origin: CORS } })
  t.match(headers['access-control-expose-headers'], /Idempotent-Replayed/)
  const preflight = await service.app.inject({
    method: 'OPTIONS',
    url: '/v1/users',
    headers: {
      origin: CORS,
      'access-control-request-method': 'POST',
      'access-control-request-headers': 'authorization,idempotency-key'
    }
  })
  t.match(preflight.headers['access-control-allow-headers'], /idempotency-key/)
})

t.test('the operator replaces the first API key of an account', async (t) => {
  const { id } = await createAccount()
  const scopes = ['keys:write', 'users:read']
  const body = { accountId: id, name: 'Second key', scopes }
  const { key } = (await call('POST', '/v1/api-keys', { as: operator, body })).json()
  t.equal((await call('GET', '/v1/users', { as: key })).statusCode, 200)
})

t.test('after 24 hours, the response expires and is deleted in batches', async (t) => {
  const sent = {
    as: operator,
    headers: { 'idempotency-key': newKey() },
    body: { accountId: account.id, name: 'daily', scopes: ['introspect'] }
  }
  const create = async () => (await call('POST', '/v1/api-keys', sent)).json().key
  const first = await create()
  clock.advance({ minutes: 24 * 60 - 1 })
  t.equal(await create(), first)
  clock.advance({ minutes: 1 })
  const second = await create()
  t.not(second, first)
  t.equal(await create(), second, 'the new response is stored in its place')
  clock.advance({ minutes: 24 * 60 })
  const stored = createStoredResponses(database.prisma)
  await database.prisma.$executeRaw`
    INSERT INTO "StoredResponse" SELECT "accountId", gen_random_uuid(), '', "expiresAt"
    FROM "StoredResponse" CROSS JOIN generate_series(1, 1200)`
  const counts: number[] = []
  for (;;) {
    const isMore = await stored.forgetExpired(clock.now())
    counts.push(await database.prisma.storedResponse.count())
    if (!isMore) break
  }
  t.ok(counts.length > 1)
  t.equal(counts.at(-1), 0)
})
