// Old events are removed from the start of the chain, and verification continues from the checkpoint.
import t, { type Test } from 'tap'
import { createRetention } from '../../../src/audit/retention.ts'
import { retainedFrom, signCheckpoint } from '../../../src/core/audit/checkpoints.ts'
import { signEvent } from '../../../src/core/audit/events.ts'
import { createAuditEvents } from '../../../src/data/trail/audit-events.ts'
import { createAuditTrail } from '../../../src/data/trail/audit-trail.ts'
import { createAuditLinks } from '../../../src/data/trail/links.ts'
import { createAuditRetention } from '../../../src/data/trail/retention.ts'
import { ON_SERVER } from '../../support/app.ts'
import { auditEvent } from '../../support/audit-events.ts'
import { openTestDatabase, openTestReplica } from '../../support/database.ts'

const KEY = Buffer.alloc(32, 1)
const NOW = new Date('2026-11-28T12:00:00Z')
const month = (number: number, day = 1) => new Date(Date.UTC(2026, number - 1, day))

/** Opens a database with three chained events in each of the given months, and one that waits for its link. */
async function open(t: Test, months: number[], { waiting = true } = {}) {
  const database = await openTestDatabase(t)
  const { prisma } = database
  const events = createAuditEvents(database)
  const links = createAuditLinks(prisma)
  const record = (occurredAt: Date) => events.record(signEvent(KEY, auditEvent({ occurredAt })))
  for (const number of months) {
    for (const day of [1, 15, 28]) await record(month(number, day))
  }
  await links.chainNext({ key: KEY, limit: 1000 })
  if (waiting) await record(month(1))
  const logged: object[] = []
  const retention = createRetention({
    stored: createAuditRetention(prisma),
    key: KEY,
    months: 3,
    log: { error: (details, message) => logged.push({ ...details, message }) },
    now: () => NOW
  })
  return {
    prisma,
    url: database.url,
    links,
    logged,
    ...retention,
    stored: createAuditRetention(prisma),
    verify: (noted: { sequence: bigint; hash: Uint8Array } | null = null) =>
      createAuditTrail(prisma).verify({ key: KEY, noted, pageSize: 2 })
  }
}

/** Runs SQL as the owner of the tables, who can disable their triggers. */
async function asOwner(
  { prisma }: Pick<Awaited<ReturnType<typeof open>>, 'prisma'>,
  ...statements: string[]
): Promise<void> {
  const tables = ['AuditEvent', 'AuditSeal', 'AuditCheckpoint']
  const alter = async (state: string) => {
    for (const table of tables) {
      await prisma.$executeRawUnsafe(`ALTER TABLE "${table}" ${state} TRIGGER USER`)
    }
  }
  await alter('DISABLE')
  for (const statement of statements) await prisma.$executeRawUnsafe(statement)
  await alter('ENABLE')
}

t.test('whole months are kept, in addition to the current one', async (t) => {
  t.same(retainedFrom(NOW, 3), month(8))
  t.same(retainedFrom(new Date('2026-01-31T23:59:59Z'), 1), new Date('2025-12-01T00:00:00Z'))
})

t.test('S28: old months are removed, and the rest is verified from the checkpoint', async (t) => {
  const trail = await open(t, [5, 6, 7, 8, 11])
  const { prisma } = trail
  const seventh = await prisma.auditLink.findUniqueOrThrow({ where: { sequence: 7 } })
  const ninth = await prisma.auditLink.findUniqueOrThrow({ where: { sequence: 9 } })
  t.equal(await trail.removeExpired(), false)
  t.equal(await prisma.auditEvent.count(), 7, 'also the old event that is not chained yet')
  t.equal(await prisma.auditLink.count(), 6)
  const checkpoint = { sequence: 9n, removed: 9n, occurredBefore: month(8) }
  t.match(await trail.verify(), { isWhole: true, verified: 6, unchained: 1, checkpoint })
  t.match(await trail.verify(ninth), { isWhole: true }, 'a noted head at the checkpoint')
  const other = { sequence: 9n, hash: seventh.hash }
  t.match(await trail.verify(other), { isWhole: false, breach: { what: 'head-missing' } })
  await trail.links.chainNext({ key: KEY, limit: 10 })
  t.match(await trail.verify(), { isWhole: true, verified: 7, unchained: 0 })
  await trail.removeExpired()
  t.match(await trail.verify(), { isWhole: true, verified: 7 }, 'nothing more is old')
})

t.test('batches continue where the last one ended, and each leaves a whole trail', async (t) => {
  const trail = await open(t, [1, 2, 3, 4], { waiting: false })
  const remove = (limit: number) =>
    trail.stored.removeOldest({ key: KEY, before: month(4), limit, now: NOW })
  for (const left of [8, 4, 3, 3]) {
    t.match(await remove(4), { breach: null })
    t.match(await trail.verify(), { isWhole: true, verified: left })
  }
  t.match(await trail.verify(), { checkpoint: { sequence: 9n, removed: 9n } })
})

t.test('the newest link stays, so that the chain continues', async (t) => {
  const trail = await open(t, [1])
  await trail.removeExpired()
  t.match(await trail.verify(), { isWhole: true, verified: 1, head: { sequence: 3n } })
  await trail.links.chainNext({ key: KEY, limit: 10 })
  t.match(await trail.verify(), { isWhole: true, verified: 2, head: { sequence: 4n } })
})

t.test('S28: a removed, forged or moved checkpoint is noticed', async (t) => {
  const trail = await open(t, [1, 2, 9], { waiting: false })
  const { prisma } = trail
  const remove = (before: Date) =>
    trail.stored.removeOldest({ key: KEY, before, limit: 100, now: NOW })
  await remove(month(2))
  const early = await prisma.auditCheckpoint.findUniqueOrThrow({ where: { id: 1 } })
  await remove(month(3))
  const late = await prisma.auditCheckpoint.findUniqueOrThrow({ where: { id: 1 } })
  const becomes = async (change: string | Partial<typeof late>, what: string) => {
    const { id: _id, ...row } = { ...late, ...(typeof change === 'string' ? {} : change) }
    await asOwner(trail, 'DELETE FROM "AuditCheckpoint"')
    if (typeof change !== 'string') await prisma.auditCheckpoint.create({ data: row })
    t.match(await trail.verify(), { isWhole: false, breach: { what } }, JSON.stringify(what))
  }
  await becomes('removed', 'link-missing')
  await becomes(early, 'link-missing')
  await becomes({ sequence: 7n }, 'checkpoint-altered')
  await becomes({ removed: 5n }, 'checkpoint-altered')
  const forged = signCheckpoint(Buffer.alloc(32, 2), { ...late, sequence: 7n })
  await becomes({ sequence: 7n, mac: forged.mac }, 'checkpoint-altered')
  await becomes({ occurredBefore: month(1) }, 'checkpoint-altered')
  t.match(await remove(month(9)), { removed: 0, breach: { what: 'checkpoint-altered' } })
})

t.test('S28: rows that are removed without a checkpoint are noticed', async (t) => {
  const trail = await open(t, [1, 2, 9], { waiting: false })
  await trail.stored.removeOldest({ key: KEY, before: month(2), limit: 100, now: NOW })
  await t.rejects(trail.prisma.$executeRaw`DELETE FROM "AuditSeal" WHERE sequence = 4`, {
    message: /append-only/
  })
  await t.rejects(trail.prisma.$executeRaw`DELETE FROM "AuditEvent"`, { message: /append-only/ })
  await t.rejects(trail.prisma.$executeRaw`DELETE FROM "AuditCheckpoint"`, {
    message: /append-only/
  })
  await t.rejects(trail.prisma.$executeRaw`UPDATE "AuditCheckpoint" SET removed = 0`, {
    message: /append-only/
  })
  await asOwner(trail, 'DELETE FROM "AuditSeal" WHERE sequence = 4')
  t.match(await trail.verify(), { isWhole: false, breach: { what: 'link-missing', sequence: 4n } })
})

t.test('S28: a link that is inserted below the checkpoint is noticed', async (t) => {
  const trail = await open(t, [1, 9], { waiting: false })
  const first = await trail.prisma.auditLink.findUniqueOrThrow({ where: { sequence: 1 } })
  await trail.removeExpired()
  t.match(await trail.verify(), { isWhole: true })
  await trail.prisma.auditLink.create({ data: first })
  t.match(await trail.verify(), { isWhole: false, breach: { what: 'link-altered', sequence: 1n } })
})

t.test('S28: altered events are not removed, and the log names the first one', async (t) => {
  const trail = await open(t, [1, 2, 9], { waiting: false })
  await asOwner(trail, `UPDATE "AuditEvent" SET reason = 'x' WHERE "occurredAt" < '2026-01-10'`)
  t.equal(await trail.removeExpired(), false)
  t.equal(await trail.prisma.auditEvent.count(), 9)
  t.match(trail.logged, [
    { message: 'audit events not removed', why: 'the event was altered', sequence: '1' }
  ])
})

t.test('two replicas that remove at the same time leave a whole trail', ON_SERVER, async (t) => {
  const trail = await open(t, [1, 2, 3, 4, 5, 6, 9])
  const second = createAuditRetention((await openTestReplica(t, trail.url ?? '')).prisma)
  const remove = async (stored: typeof second) => {
    for (let round = 0; round < 20; round++) {
      await stored.removeOldest({ key: KEY, before: month(7), limit: 2, now: NOW })
    }
  }
  await Promise.all([remove(trail.stored), remove(second)])
  t.match(await trail.verify(), { isWhole: true, verified: 3, checkpoint: { removed: 18n } })
})

t.test('S28: no checkpoint permits to remove recent events, genuine or not', async (t) => {
  const { prisma, stored, verify } = await open(t, [8, 9], { waiting: false })
  const soon = new Date(Date.now() - 26 * 24 * 3_600_000)
  const ahead = { key: KEY, before: soon, limit: 100, now: NOW }
  await t.rejects(stored.removeOldest(ahead), /recent events/, 'a clock that is ahead')
  t.equal((await verify()).isWhole, true)
  const forge = (before: Date) => prisma.$executeRaw`
    INSERT INTO "AuditCheckpoint" VALUES (1, 1000, 'no hash', 0, ${before}::timestamptz, now(), 'no MAC')`
  await t.rejects(forge(new Date()), /recent events/)
  await forge(month(9))
  await t.rejects(prisma.$executeRaw`DELETE FROM "AuditEvent"`, /append-only/)
  await t.rejects(prisma.$executeRaw`DELETE FROM "AuditSeal"`, /append-only/)
  t.equal(await prisma.auditEvent.count(), 6)
})
