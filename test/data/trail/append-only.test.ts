// The audit trail is append-only: the triggers of the database itself reject every other statement.
import t from 'tap'
import { signEvent } from '../../../src/core/audit/events.ts'
import { createAuditEvents } from '../../../src/data/trail/audit-events.ts'
import { createAuditLinks } from '../../../src/data/trail/links.ts'
import { Prisma } from '../../../src/generated/prisma/client.ts'
import { auditEvent } from '../../support/audit-events.ts'
import { openTestDatabase } from '../../support/database.ts'

const KEY = Buffer.alloc(32, 1)
const TABLES = ['AuditEvent', 'AuditSeal']

const database = await openTestDatabase(t)
const { prisma } = database
const { record } = createAuditEvents(database)

const event = signEvent(KEY, auditEvent())
for (const each of [event, signEvent(KEY, auditEvent()), signEvent(KEY, auditEvent())]) {
  await record(each)
}
await createAuditLinks(prisma).chainNext({ key: KEY, limit: 3 })

t.test('the database rejects every statement except an insert', async (t) => {
  const { accountId, occurredAt, id } = event
  const key = { accountId_occurredAt_id: { accountId, occurredAt, id } }
  const link = await prisma.auditLink.findFirstOrThrow()
  const stored = await prisma.auditEvent.findUniqueOrThrow({ where: key })
  const create = { ...stored, details: Prisma.DbNull }
  const { sequence } = link
  const changes: (() => Promise<unknown>)[] = [
    () => prisma.auditEvent.update({ where: key, data: { reason: 'x' } }),
    () => prisma.auditEvent.updateMany({ data: { reason: 'x' } }),
    () => prisma.auditEvent.upsert({ where: key, create, update: { reason: 'x' } }),
    () => prisma.auditEvent.delete({ where: key }),
    () => prisma.auditEvent.deleteMany(),
    () => prisma.auditLink.update({ where: { sequence }, data: { sequence: 99 } }),
    () =>
      prisma.auditLink.upsert({ where: { sequence }, create: link, update: { hash: link.hash } }),
    () => prisma.auditLink.delete({ where: { sequence } }),
    () => prisma.auditLink.deleteMany()
  ]
  for (const change of changes) {
    await t.rejects(change, { message: /append-only/ }, String(change))
  }
  const before = await readRows()
  const statements = TABLES.flatMap((table) => [
    `UPDATE "${table}" SET "accountId" = "accountId"`,
    `DELETE FROM "${table}"`,
    `TRUNCATE "${table}"`,
    `TRUNCATE "${table}" CASCADE`,
    `WITH gone AS (DELETE FROM "${table}" RETURNING *) SELECT count(*) FROM gone`
  ])
  statements.push(
    `INSERT INTO "AuditEvent" SELECT * FROM "AuditEvent"
      ON CONFLICT ("accountId", "occurredAt", id) DO UPDATE SET reason = 'x'`,
    `INSERT INTO "AuditSeal" SELECT * FROM "AuditSeal"
      ON CONFLICT (sequence) DO UPDATE SET hash = excluded.hash`,
    `MERGE INTO "AuditSeal" l USING "AuditSeal" o ON l.sequence = o.sequence WHEN MATCHED THEN DELETE`
  )
  for (const statement of statements) {
    await t.rejects(prisma.$executeRawUnsafe(statement), { message: /append-only/ }, statement)
  }
  t.same(await readRows(), before)
})

t.test('the database rejects them even if ordinary triggers do not fire', async (t) => {
  const before = await readRows()
  for (const table of TABLES) {
    for (const statement of [`DELETE FROM "${table}"`, `TRUNCATE "${table}"`]) {
      const asReplica = prisma.$transaction([
        prisma.$executeRaw`SET LOCAL session_replication_role = replica`,
        prisma.$executeRawUnsafe(statement)
      ])
      await t.rejects(asReplica, { message: /append-only/ }, statement)
    }
  }
  t.same(await readRows(), before)
})

async function readRows() {
  return {
    events: await prisma.auditEvent.findMany({ orderBy: { id: 'asc' } }),
    links: await prisma.auditLink.findMany({ orderBy: { sequence: 'asc' } })
  }
}
