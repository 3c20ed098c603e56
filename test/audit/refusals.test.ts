// Repeated refusals do not fill the audit trail, and none of them is uncounted.
import { randomUUID } from 'node:crypto'
import t from 'tap'
import { createRefusals } from '../../src/audit/refusals.ts'
import { type AuditEvent, signEvent } from '../../src/core/audit/events.ts'
import { createAuditEvents } from '../../src/data/trail/audit-events.ts'
import { createAuditTrail } from '../../src/data/trail/audit-trail.ts'
import { createAuditLinks } from '../../src/data/trail/links.ts'
import { startApp, UNKNOWN } from '../support/app.ts'
import { auditEvent } from '../support/audit-events.ts'
import { createClock } from '../support/clock.ts'
import { openTestDatabase } from '../support/database.ts'
import { isProblem } from '../support/problems.ts'

const KEY = new Uint8Array(32).fill(7)
const database = await openTestDatabase(t)
const { prisma } = database
const auditEvents = createAuditEvents(database)
const actor = { kind: 'api_key', id: 'abcdefghijkl', credential: 'api_key' } as const

interface Counted {
  count?: number
}

/** Returns the number of rows of an account and the number of refusals that they report. */
async function counted(accountId: string, type?: string) {
  const where = { accountId, outcome: 'refused', ...(type && { type }) } as const
  const rows = await prisma.auditEvent.findMany({ where, orderBy: { id: 'asc' } })
  const refusals = rows.map(({ details }) => (details as Counted | null)?.count ?? 1)
  return { rows: rows.length, refusals: refusals.reduce((sum, count) => sum + count, 0) }
}

/** Starts the refusals of a replica, with a clock of its own. */
function startRefusals() {
  const clock = createClock()
  const refusals = createRefusals({ key: KEY, auditEvents, now: clock.now })
  const accountId = randomUUID()
  const refuse = (given: Partial<AuditEvent> = {}) => {
    const refused = { accountId, actor, occurredAt: clock.now(), userId: null, target: null }
    const event = auditEvent({ ...refused, outcome: 'refused', reason: 'not-found', ...given })
    return refusals.record(signEvent(KEY, event))
  }
  return { clock, accountId, refuse, writeFolded: refusals.writeFolded }
}

t.test('3,000 refusals of one key write few rows, and all are counted', async (t) => {
  const service = await startApp(t, { database })
  const { call, createAccount, createApiKey } = service
  const account = await createAccount()
  const as = await createApiKey(account, 'introspect')
  const url = '/v1/users'
  for (let round = 0; round < 60; round++) {
    const answers = await Promise.all(Array.from({ length: 50 }, () => call('GET', url, { as })))
    if (round === 0) for (const answer of answers) isProblem(t, answer, 403, 'insufficient-scope')
  }
  t.same(await counted(account.id), { rows: 1, refusals: 1 }, 'the first is written immediately')
  await service.app.close()
  t.same(await counted(account.id), { rows: 2, refusals: 3000 }, 'a stop writes the others')
  const [, folded] = await prisma.auditEvent.findMany({
    where: { accountId: account.id, type: 'user.read' },
    orderBy: { id: 'asc' }
  })
  t.match(folded, { reason: 'insufficient-scope', details: { count: 2999 } })
})

t.test('refusals before a sign-in are folded by address and reason', async (t) => {
  const service = await startApp(t, { database })
  const { call, changePolicy, createAccount } = service
  const account = await createAccount({ slug: 'with-sso' })
  const sso = { mode: 'optional', issuer: 'https://login.example.com', clientId: 'client-1' }
  await changePolicy(account, { sso })
  const body = { account: account.slug, idToken: 'rubbish' }
  for (let index = 0; index < 100; index++) await call('POST', '/v1/login/sso', { body })
  await service.app.close()
  t.same(await counted(account.id, 'sign_in.sso'), { rows: 2, refusals: 100 })
})

t.test('wrong passwords and wrong codes are never folded', async (t) => {
  const service = await startApp(t, { database })
  const user = await service.createUser({ account: await service.createAccount({ slug: 'each' }) })
  for (let index = 0; index < 3; index++) await service.login({ ...user, password: 'wrong' })
  t.same(await counted(user.account.id, 'sign_in.password'), { rows: 3, refusals: 3 })
})

t.test('an admin reads the number and the times of folded refusals', async (t) => {
  const service = await startApp(t, { database })
  const { call, clock } = service
  const account = await service.createAccount({ slug: 'read' })
  const as = account.apiKey
  const refused = () => call('DELETE', `/v1/users/${UNKNOWN}`, { as })
  await refused()
  clock.advance({ seconds: 10 })
  const firstAt = clock.now().toISOString()
  await refused()
  clock.advance({ seconds: 10 })
  const lastAt = clock.now().toISOString()
  isProblem(t, await refused(), 404, 'user-not-found')
  await service.app.close()
  const { app } = await startApp(t, { database })
  const { items } = (
    await app.inject({
      url: '/v1/audit-events?type=user.delete',
      headers: { authorization: `Bearer ${as}` }
    })
  ).json()
  t.match(items[0], {
    outcome: 'refused',
    reason: 'user-not-found',
    target: { kind: 'user', id: UNKNOWN },
    details: { count: 2, firstAt, lastAt }
  })
  t.match(items[1], { details: null })
})

t.test('a flood writes one row a minute, and a pause starts again with the first', async (t) => {
  const { clock, accountId, refuse, writeFolded } = startRefusals()
  for (let minute = 0; minute < 3; minute++) {
    for (let index = 0; index < 20; index++) await refuse()
    clock.advance({ seconds: 59 })
    await writeFolded()
  }
  t.same(await counted(accountId), { rows: 4, refusals: 60 })
  clock.advance({ seconds: 1 })
  await refuse()
  t.same(await counted(accountId), { rows: 5, refusals: 61 }, 'written immediately')
})

t.test('a stolen key that is refused what its owner is refused shows its address', async (t) => {
  const { accountId, refuse } = startRefusals()
  const addresses = async () => {
    const rows = await prisma.auditEvent.findMany({ where: { accountId }, orderBy: { id: 'asc' } })
    return rows.map(({ address }) => address)
  }
  for (let index = 0; index < 20; index++) await refuse({ address: '192.0.2.1' })
  for (let index = 0; index < 20; index++) await refuse({ address: '198.51.100.7' })
  t.same(await addresses(), ['192.0.2.1', '198.51.100.7'])
  for (let index = 0; index < 100; index++) await refuse({ address: `203.0.113.${index}` })
  t.equal((await addresses()).length, 10)
})

t.test('the first refusals on ten targets have rows of their own', async (t) => {
  const { accountId, refuse, writeFolded } = startRefusals()
  for (let index = 0; index < 30; index++) {
    const id = randomUUID()
    await refuse({ userId: id, target: { kind: 'user', id } })
    await refuse({ userId: id, target: { kind: 'user', id } })
  }
  t.same(await counted(accountId), { rows: 10, refusals: 10 })
  await writeFolded()
  t.same(await counted(accountId), { rows: 11, refusals: 60 })
})

t.test(
  '503: a first refusal that is not written stays a first one, and no count is lost',
  async (t) => {
    const { accountId, refuse, writeFolded } = startRefusals()
    await withoutRoom(() => t.rejects(refuse(), 'no room'))
    t.same(await counted(accountId), { rows: 0, refusals: 0 })
    await refuse()
    t.same(await counted(accountId), { rows: 1, refusals: 1 })
    for (let index = 0; index < 5; index++) await refuse()
    await withoutRoom(async () => {
      const writing = t.rejects(writeFolded(), 'no room')
      await refuse()
      await writing
    })
    await refuse()
    await writeFolded()
    t.same(await counted(accountId), { rows: 2, refusals: 8 })
  }
)

t.test('a flood of different actors is not kept in memory, and all are written', async (t) => {
  const written: string[] = []
  const memory = createRefusals({
    key: KEY,
    now: createClock().now,
    auditEvents: {
      ...auditEvents,
      record: async ({ actor }) => void written.push(String(actor.id))
    }
  })
  const accountId = randomUUID()
  const refuse = (id: string) => {
    const event = auditEvent({ accountId, outcome: 'refused', actor: { ...actor, id } })
    return memory.record(signEvent(KEY, event))
  }
  for (let index = 0; index < 10_000; index++) await refuse(`${index}`)
  await refuse('late')
  await refuse('late')
  t.equal(written.length, 10_002, 'refusals of actors beyond the maximum are not folded')
})

t.test('folded refusals are genuine events of the chain', async (t) => {
  const clean = await openTestDatabase(t)
  const clock = createClock()
  const events = createAuditEvents(clean)
  const refusals = createRefusals({ key: KEY, auditEvents: events, now: clock.now })
  const accountId = randomUUID()
  for (let index = 0; index < 3; index++) {
    const event = auditEvent({ accountId, actor, userId: null, outcome: 'refused' })
    await refusals.record(signEvent(KEY, event))
  }
  await refusals.writeFolded()
  const links = createAuditLinks(clean.prisma)
  t.equal((await links.chainNext({ key: KEY, limit: 10 })).chained, 2)
  const verdict = await createAuditTrail(clean.prisma).verify({ key: KEY, noted: null })
  t.match(verdict, { isWhole: true, verified: 2 })
})

/** Runs with a database that has no room for audit events. */
async function withoutRoom(run: () => Promise<unknown>): Promise<void> {
  await prisma.$executeRaw`CREATE FUNCTION "noRoom"() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN RAISE EXCEPTION 'no room' USING ERRCODE = 'disk_full'; END $$`
  await prisma.$executeRaw`CREATE TRIGGER no_room BEFORE INSERT ON "AuditEvent" FOR EACH ROW EXECUTE FUNCTION "noRoom"()`
  try {
    await run()
  } finally {
    await prisma.$executeRaw`DROP TRIGGER no_room ON "AuditEvent"`
    await prisma.$executeRaw`DROP FUNCTION "noRoom"()`
  }
}
