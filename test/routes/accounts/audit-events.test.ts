import { randomUUID } from 'node:crypto'
import t from 'tap'
import { v7 as uuidv7 } from 'uuid'
import {
  type AuditEvent,
  isGenuine,
  NO_ACCOUNT,
  signEvent
} from '../../../src/core/audit/events.ts'
import { openServiceKeyOf } from '../../../src/crypto/service-keys.ts'
import { createServiceKeys } from '../../../src/data/keys/service-keys.ts'
import { createAuditEvents } from '../../../src/data/trail/audit-events.ts'
import { startApp } from '../../support/app.ts'
import { auditEvent, HOSTILE_TEXTS } from '../../support/audit-events.ts'
import { NINE } from '../../support/clock.ts'
import { openTestDatabase } from '../../support/database.ts'
import { isProblem, pointersOf } from '../../support/problems.ts'

const database = await openTestDatabase(t)
const service = await startApp(t, { database })
const { call, clock, config, createAccount, createApiKey, createUser, enrolledUser } = service
const { prisma } = database
const auditEvents = createAuditEvents(database)
const ownKeys = {
  stored: createServiceKeys(prisma),
  masterKeys: config.masterKeys,
  now: clock.now
}
const key = await openServiceKeyOf(ownKeys, 'audit')

interface Item extends Omit<AuditEvent, 'occurredAt'> {
  occurredAt: string
}

interface Filter {
  type?: string
  userId?: string
  since?: string
}

async function record(given: Partial<AuditEvent>): Promise<AuditEvent> {
  const event = auditEvent(given)
  await auditEvents.record(signEvent(key, event))
  return event
}

const read = (as: string, query: Record<string, string | number> = {}) =>
  call('GET', `/v1/audit-events?${new URLSearchParams(query as Record<string, string>)}`, { as })

/** Reads all pages with this number of items each. */
async function readAll(as: string, filter: Filter, limit: number): Promise<Item[]> {
  const items: Item[] = []
  let cursor: string | null = null
  do {
    const answer = await read(as, { ...filter, limit, ...(cursor === null ? {} : { cursor }) })
    if (answer.statusCode !== 200) throw new Error(answer.body)
    const page: { items: Item[]; nextCursor: string | null } = answer.json()
    if (page.items.length > limit) throw new Error('at most the requested number')
    items.push(...page.items)
    cursor = page.nextCursor
  } while (cursor !== null)
  return items
}

t.test('200: a refusal is audited, and an admin reads it', async (t) => {
  const account = await createAccount()
  const [member, admin] = [
    await enrolledUser({ account }),
    await enrolledUser({ account, role: 'admin' })
  ]
  const as = await member.accessToken()
  const refused = await call('GET', '/v1/users', { as })
  const { requestId } = isProblem(t, refused, 403, 'limited-access')

  const answer = await read(await admin.accessToken())
  t.equal(answer.statusCode, 200)
  t.equal(answer.headers['cache-control'], 'no-store')
  const { items } = answer.json()
  const item = items.find((item: Item) => item.requestId === requestId)
  t.strictSame(item, {
    id: item.id,
    occurredAt: clock.now().toISOString(),
    type: 'user.read',
    outcome: 'refused',
    actor: { kind: 'user', id: member.id, credential: 'access_token' },
    target: null,
    reason: 'limited-access',
    ticket: null,
    address: '127.0.0.1',
    requestId,
    details: null
  })

  isProblem(t, await read(as), 403, 'limited-access')
  const [latest] = (await read(account.apiKey, { type: 'audit.read', limit: 1 })).json().items
  t.match(
    latest,
    { outcome: 'refused', actor: { id: member.id } },
    'the refused read is audited too'
  )
})

t.test('200: an admin needs no fresh second factor, and an API key only audit:read', async (t) => {
  const account = await createAccount()
  const admin = await createUser({ account, role: 'admin' })
  t.equal((await read(await service.assertedToken(admin))).statusCode, 200)
  t.equal((await read(await createApiKey(account, 'audit:read'))).statusCode, 200)
  isProblem(t, await read(await createApiKey(account, 'users:read')), 403, 'insufficient-scope')
})

t.test('200: an event is returned as it was written, with hostile texts too', async (t) => {
  const { id: accountId, apiKey } = await createAccount()
  for (const text of HOSTILE_TEXTS) {
    const given = {
      ...{ accountId, reason: text, ticket: text, address: text.slice(0, 100) },
      details: { text, number: -1.5e300, yes: true, none: null, list: [text] }
    }
    const { userId: _, accountId: __, ...event } = await record(given)
    const [item] = (await read(apiKey, { limit: 1, type: 'user.reset' })).json().items
    t.strictSame(item, { ...event, occurredAt: event.occurredAt.toISOString() })
  }
  const { rows } = await auditEvents.list(accountId, {}, { limit: 100, after: null })
  t.ok(rows.length >= HOSTILE_TEXTS.length)
  t.ok(rows.every((row) => isGenuine(key, row)))
})

t.test('200: half a surrogate pair is signed in the form that is stored', async (t) => {
  const { id: accountId } = await createAccount()
  const text = '\ud83d broken \udc69'
  await record({ accountId, reason: text, ticket: text, details: { text } })
  const { rows } = await auditEvents.list(
    accountId,
    { type: 'user.reset' },
    { limit: 1, after: null }
  )
  t.match(rows, [{ reason: '\ufffd broken \ufffd', ticket: '\ufffd broken \ufffd' }])
  t.ok(rows.every((row) => isGenuine(key, row)))
})

t.test(
  '200: every filter returns the right events in pages of every size, newest first',
  async (t) => {
    const account = await createAccount()
    const users = [randomUUID(), randomUUID(), randomUUID()]
    const types = ['user.reset', 'sign_in.code', 'policy.change'] as const
    const pick = <Value>(values: readonly Value[], index: number) => values[index % values.length]
    for (let index = 0; index < 36; index++) {
      const actorId = pick([...users, null], index * 5) ?? null
      await record({
        accountId: account.id,
        type: pick(types, Math.floor(index / 2)) ?? 'user.reset',
        userId: pick([...users, null], index * 7 + Math.floor(index / 4)) ?? null,
        actor: { kind: 'user', id: actorId, credential: 'access_token' },
        // Three events for each instant, with ids in another order than the instants.
        occurredAt: new Date(NINE.getTime() + Math.floor(((index * 11) % 36) / 3) * 1000)
      })
    }
    const filters = ['', ...types].flatMap((type) =>
      ['', ...users].flatMap((userId) =>
        ['', NINE.toISOString(), '2026-01-05T10:00:04.000+01:00', '2030-01-01T00:00:00Z'].map(
          (since) => ({ ...(type && { type }), ...(userId && { userId }), ...(since && { since }) })
        )
      )
    )
    const known = await prisma.auditEvent.findMany({
      where: { accountId: account.id },
      orderBy: [{ occurredAt: 'desc' }, { id: 'desc' }]
    })
    for (const [index, filter] of filters.entries()) {
      const wanted = known.filter(
        ({ type, userId, actorId, occurredAt }) =>
          (!filter.type || filter.type === type) &&
          (!filter.userId || filter.userId === userId || filter.userId === actorId) &&
          (!filter.since || occurredAt >= new Date(filter.since))
      )
      const found = await readAll(account.apiKey, filter, pick([200, 1, 2, 3, 7], index) ?? 1)
      t.same(
        found.map(({ id }) => id),
        wanted.map(({ id }) => id),
        JSON.stringify(filter)
      )
    }
  }
)

t.test('200: pages are complete while events are added', async (t) => {
  const account = await createAccount()
  const type = 'policy.change'
  const first = []
  for (let index = 0; index < 5; index++) first.push(await record({ accountId: account.id, type }))
  const ids = first.map(({ id }) => id).reverse()
  const one = (await read(account.apiKey, { type, limit: 2 })).json()
  await record({ accountId: account.id, type })
  await record({ accountId: account.id, type, occurredAt: new Date(NINE.getTime() + 1) })
  const two = (await read(account.apiKey, { type, limit: 2, cursor: one.nextCursor })).json()
  const last = { type, limit: 2, cursor: two.nextCursor }
  const three = (await read(account.apiKey, last)).json()
  const found = [one, two, three].map(({ items }) => items.map(({ id }: Item) => id))
  t.same(found, [ids.slice(0, 2), ids.slice(2, 4), ids.slice(4)])
  t.equal(three.nextCursor, null)
})

t.test(
  '200: an account sees neither events of another account nor events without one',
  async (t) => {
    const [account, other] = [await createAccount(), await createAccount()]
    const admin = await enrolledUser({ account, role: 'admin' })
    const foreign = await Promise.all(
      [other.id, NO_ACCOUNT].map((accountId) => record({ accountId, userId: admin.id }))
    )
    for (const as of [account.apiKey, await admin.accessToken()]) {
      for (const filter of [{}, { userId: admin.id }, { type: 'user.reset' }]) {
        const text = JSON.stringify(await readAll(as, filter, 200))
        for (const { id } of foreign) t.notMatch(text, id)
      }
    }
    for (const seconds of [8, 9]) {
      const occurredAt = new Date(NINE.getTime() + seconds * 1000)
      await record({ accountId: account.id, occurredAt })
    }
    const [newest] = (await read(other.apiKey, { type: 'user.reset' })).json().items
    t.equal(newest.id, foreign[0]?.id)
    const cursor = (await read(account.apiKey, { limit: 1 })).json().nextCursor
    const beyond = (await read(other.apiKey, { cursor, type: 'user.reset' })).json()
    t.same(
      beyond.items.map(({ id }: Item) => id),
      [newest.id],
      'a cursor is only a position and gives no access'
    )
  }
)

t.test('400: invalid filters and foreign cursors are rejected', async (t) => {
  const account = await createAccount()
  await record({ accountId: account.id })
  await record({ accountId: account.id })
  await createUser({ account })
  await createUser({ account })
  const as = account.apiKey
  const ofUsers = (await call('GET', '/v1/users?limit=1', { as })).json().nextCursor
  const ours = (await read(as, { limit: 1 })).json().nextCursor
  const cursorOf = (text: string) => Buffer.from(text).toString('base64url')
  const id = uuidv7()
  for (const [query, pointer] of [
    [{ type: 'user.dance' }, '/type'],
    [{ type: '' }, '/type'],
    [{ userId: 'me' }, '/userId'],
    [{ userId: '1' }, '/userId'],
    [{ userId: `${id}0` }, '/userId'],
    [{ since: 'yesterday' }, '/since'],
    [{ since: '2026-01-05' }, '/since'],
    [{ since: '2026-02-29T00:00:00Z' }, '/since'],
    [{ since: '2016-12-31T23:59:60Z' }, '/since'],
    [{ since: NINE.getTime() }, '/since'],
    [{ outcome: 'refused' }, '/outcome'],
    [{ limit: 201 }, '/limit'],
    [{ limit: '1e999' }, '/limit'],
    [{ cursor: '' }, '/cursor'],
    [{ cursor: ofUsers }, '/cursor'],
    [{ cursor: `${ours}A` }, '/cursor'],
    [{ cursor: cursorOf(id) }, '/cursor'],
    [{ cursor: cursorOf(`.${id}`) }, '/cursor'],
    [{ cursor: cursorOf(`01.${id}`) }, '/cursor'],
    [{ cursor: cursorOf(`-0.${id}`) }, '/cursor'],
    [{ cursor: cursorOf(`1e3.${id}`) }, '/cursor'],
    [{ cursor: cursorOf(`999999999999999.${id}`) }, '/cursor'],
    [{ cursor: cursorOf(`1.${id.toUpperCase()}`) }, '/cursor'],
    [{ cursor: cursorOf(`1.${id}\n`) }, '/cursor'],
    [{ cursor: cursorOf(`NaN.${id}`) }, '/cursor']
  ] as [Record<string, string | number>, string][]) {
    const document = isProblem(t, await read(as, query), 400, 'invalid-request')
    t.same(pointersOf(document), [pointer], JSON.stringify(query))
  }
  isProblem(t, await call('GET', `/v1/users?cursor=${ours}`, { as }), 400, 'invalid-request')
})

t.test('200: the first and the last possible instants are accepted', async (t) => {
  const account = await createAccount()
  const { id } = await record({ accountId: account.id })
  const cursorOf = (text: string) => Buffer.from(text).toString('base64url')
  for (const [query, isThere] of [
    [{ since: '0001-01-01T00:00:00Z' }, true],
    [{ since: '9999-12-31T23:59:59.999Z' }, false],
    [{ cursor: cursorOf(`99999999999999.${id}`) }, true],
    [{ cursor: cursorOf(`-99999999999999.${id}`) }, false]
  ] as const) {
    const { items } = (await read(account.apiKey, { ...query, type: 'user.reset' })).json()
    t.equal(items.length === 1, isThere, JSON.stringify(query))
  }
  const before = await read(account.apiKey, { since: '0000-01-01T00:00:00Z' })
  t.same(pointersOf(isProblem(t, before, 400, 'invalid-request')), ['/since'])
})

t.test('200: an invalid row that was written by SQL does not hide the other events', async (t) => {
  const account = await createAccount()
  const { id } = await record({ accountId: account.id })
  for (const instant of ['infinity', '-infinity', '20000-01-01T00:00:00Z', '0044-03-15 BC']) {
    await prisma.$executeRaw`
      INSERT INTO "AuditEvent" ("accountId", "occurredAt", id, type, outcome, "actorKind", credential,
        "targetKind", address, "requestId", details, mac)
      VALUES (${account.id}::uuid, ${instant}::timestamptz, gen_random_uuid(), 'x', 'refused', 'x', 'x',
        'x', '', gen_random_uuid(), '[1, "x"]', '')`
  }
  const answer = await read(account.apiKey)
  t.equal(answer.statusCode, 200)
  t.ok(answer.json().items.some((item: Item) => item.id === id))
  const { rows } = await auditEvents.list(account.id, {}, { limit: 100, after: null })
  t.same(
    rows.filter((row) => isGenuine(key, row)).map((row) => row.type),
    rows.filter((row) => row.type !== 'x').map((row) => row.type)
  )
})
