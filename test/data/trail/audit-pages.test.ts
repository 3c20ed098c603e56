// How many rows a page of the audit trail reads, by the statistics of the database. They count the reads of all sessions,
// and a session keeps its counts for a while. So nothing else may read the events: the database is of this file alone, a
// single session uses it, and no service runs, whose job would read every new event to chain it.
import { randomUUID } from 'node:crypto'
import t from 'tap'
import { signEvent } from '../../../src/core/audit/events.ts'
import { openDatabase } from '../../../src/data/engine/database.ts'
import { type AuditFilter, createAuditEvents } from '../../../src/data/trail/audit-events.ts'
import { auditEvent } from '../../support/audit-events.ts'
import { NINE } from '../../support/clock.ts'
import { createTestDatabase } from '../../support/database.ts'

const KEY = Buffer.alloc(32, 1)

const database = await openDatabase({ url: await createTestDatabase(t), poolMax: 1 })
t.teardown(() => database.close())
const { prisma } = database
const { list, record } = createAuditEvents(database)

t.test('a page reads only the rows that it needs', async (t) => {
  const accountId = randomUUID()
  const [busy, rare] = [randomUUID(), randomUUID()]
  await fill(accountId, busy, 3000)
  for (let index = 0; index < 3; index++) {
    const occurredAt = new Date(index)
    const event = auditEvent({ accountId, userId: rare, type: 'user.delete', occurredAt })
    await record(signEvent(KEY, event))
  }
  await prisma.$executeRaw`ANALYZE "AuditEvent"`
  const { next } = await list(accountId, {}, { limit: 20, after: null })
  for (const [filter, after] of [
    [{}, null],
    [{}, next],
    [{ userId: busy }, null],
    [{ userId: busy }, next],
    [{ userId: rare }, null],
    [{ userId: randomUUID() }, null],
    [{ type: 'sign_in.code' }, null],
    [{ type: 'user.delete' }, null],
    [{ type: 'account.create' }, null],
    [{ type: 'sign_in.code', userId: busy }, next],
    [{ type: 'sign_in.code', userId: rare }, null],
    [{ type: 'user.delete', userId: rare }, null],
    [{ type: 'user.delete', userId: busy }, null],
    [{ type: 'user.delete', since: NINE }, null],
    [{ since: new Date('2100-01-01T00:00:00Z') }, null]
  ] as [AuditFilter, string | null][]) {
    // After some executions, a server may choose a generic plan for all values.
    for (let time = 1; time < 8; time++) await list(accountId, filter, { limit: 20, after })
    const before = await rowsRead()
    await list(accountId, filter, { limit: 20, after })
    const count = (await rowsRead()) - before
    t.ok(count <= 100, `${count} rows for ${JSON.stringify(filter)}`)
  }
})

/** Writes events of a user about themselves, without valid MACs. */
async function fill(accountId: string, userId: string, count: number): Promise<void> {
  await prisma.$executeRaw`
    INSERT INTO "AuditEvent" ("accountId", "occurredAt", id, type, outcome, "actorKind", "actorId", "userId",
      address, "requestId", mac)
    SELECT ${accountId}::uuid, ${NINE}::timestamptz + n * interval '1 second', gen_random_uuid(), 'sign_in.code',
      'succeeded', 'user', ${userId}, ${userId}::uuid, '', gen_random_uuid(), ''
    FROM generate_series(1, ${count}::int) AS n`
}

async function rowsRead(): Promise<number> {
  await prisma.$queryRaw`SELECT pg_stat_force_next_flush()::text`
  const [row] = await prisma.$queryRaw<{ count: bigint }[]>`
    SELECT sum(idx_tup_read)::bigint + (
      SELECT seq_tup_read FROM pg_stat_all_tables WHERE relname = 'AuditEvent') AS count
    FROM pg_stat_all_indexes WHERE relname = 'AuditEvent'`
  return Number(row?.count)
}
