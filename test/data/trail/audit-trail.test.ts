// The record against whoever owns the database: what it refuses by itself, and what verifying finds where the refusal
// was switched off.
import { randomUUID } from 'node:crypto'
import t from 'tap'
import { createSealing } from '../../../src/audit/chaining.ts'
import { type Breach, type ChainHead, parseHead } from '../../../src/core/audit/chain.ts'
import { NO_ACCOUNT, type SignedAuditEvent, signEvent } from '../../../src/core/audit/events.ts'
import { createAuditEvents } from '../../../src/data/trail/audit-events.ts'
import { createAuditTrail } from '../../../src/data/trail/audit-trail.ts'
import { createAuditSeals } from '../../../src/data/trail/links.ts'
import { Prisma } from '../../../src/generated/prisma/client.ts'
import { pause } from '../../../src/plugins/background.ts'
import { ON_SERVER } from '../../support/app.ts'
import { auditEvent, HOSTILE_TEXTS } from '../../support/audit-events.ts'
import { NINE } from '../../support/clock.ts'
import { openTestDatabase } from '../../support/database.ts'

const KEY = Buffer.alloc(32, 1)
const SEALED = 5
const WAITING = 2

const database = await openTestDatabase(t)
const { prisma } = database
const { record } = createAuditEvents(database)
const log = { error: (details: object) => t.fail('got no seal', details) }
const seals = createAuditSeals(prisma)
const { sealDue } = createSealing({ seals, key: KEY, log, pause, now: () => NINE })
const trail = createAuditTrail(prisma)

let events: SignedAuditEvent[] = []
let copies = 0

/** A record of its own: some events sealed, some that wait. The first are two accounts' and nobody's. */
async function startOver(): Promise<void> {
  await asOwner(Prisma.sql`TRUNCATE "AuditEvent", "AuditSeal", "UnsealedAuditEvent"`)
  const accounts = [randomUUID(), randomUUID(), NO_ACCOUNT]
  events = Array.from({ length: SEALED + WAITING }, (_, index) =>
    signEvent(
      KEY,
      auditEvent({
        accountId: accounts[index % 3] ?? NO_ACCOUNT,
        occurredAt: new Date(NINE.getTime() + index),
        details: index % 2 ? null : { index, list: ['a', 'b'] }
      })
    )
  )
  for (const event of events.slice(0, SEALED)) await record(event)
  await sealDue()
  for (const event of events.slice(SEALED)) await record(event)
}

/** Does what only the owner of the tables can do: with the triggers out of the way. */
async function asOwner(...statements: Prisma.Sql[]): Promise<void> {
  await prisma.$transaction(async (transaction) => {
    for (const table of ['AuditEvent', 'AuditSeal']) {
      await transaction.$executeRawUnsafe(`ALTER TABLE "${table}" DISABLE TRIGGER USER`)
    }
    for (const statement of statements) await transaction.$executeRaw(statement)
    for (const table of ['AuditEvent', 'AuditSeal']) {
      for (const trigger of ['append_only', 'no_truncate']) {
        const name = `"${table}_${trigger}"`
        await transaction.$executeRawUnsafe(`ALTER TABLE "${table}" ENABLE ALWAYS TRIGGER ${name}`)
      }
    }
    await transaction.$executeRaw`ALTER TABLE "AuditEvent" ENABLE TRIGGER "AuditEvent_enqueue"`
  })
}

const verify = (noted: ChainHead | null = null, key = KEY) =>
  trail.verify({ key, noted, pageSize: 3 })

function eventAt(index: number): SignedAuditEvent {
  const event = events[index]
  if (!event) throw new Error(`no event ${index}`)
  return event
}

const of = (index: number) => Prisma.sql`WHERE id = ${eventAt(index).id}::uuid`
const sealOf = (index: number) => Prisma.sql`WHERE sequence = ${index + 1}`

await startOver()

t.test('a record is whole, however large the pages', async (t) => {
  for (const pageSize of [1, 2, SEALED, SEALED + WAITING, 1000]) {
    const verdict = await trail.verify({ key: KEY, noted: null, pageSize })
    const head = await prisma.auditSeal.findFirst({ orderBy: { sequence: 'desc' } })
    t.match(verdict, { isWhole: true, verified: SEALED, unsealed: WAITING, head: { sequence: 5n } })
    t.same(verdict.isWhole && verdict.head?.hash, head?.hash)
  }
})

t.test('texts of every kind are stored as they were given, and verify', async (t) => {
  for (const text of HOSTILE_TEXTS) {
    const given = { reason: text, ticket: text, details: { text, [text]: [text] }, address: text }
    const event = signEvent(KEY, auditEvent(given))
    await record(event)
    const where = { id: event.id, accountId: event.accountId }
    const { reason, ticket, details, address } = await prisma.auditEvent.findFirstOrThrow({ where })
    t.same({ reason, ticket, details, address }, given)
  }
  t.match(await verify(), { isWhole: true, unsealed: WAITING + HOSTILE_TEXTS.length })
  await sealDue()
  t.match(await verify(), { isWhole: true, verified: SEALED + WAITING + HOSTILE_TEXTS.length })
})

t.test('the database itself refuses whatever is not an insert', async (t) => {
  const { accountId, occurredAt, id } = eventAt(0)
  const key = { accountId_occurredAt_id: { accountId, occurredAt, id } }
  const seal = await prisma.auditSeal.findFirstOrThrow()
  const event = await prisma.auditEvent.findUniqueOrThrow({ where: key })
  const create = { ...event, details: Prisma.DbNull }
  const { sequence } = seal
  const changes: (() => Promise<unknown>)[] = [
    () => prisma.auditEvent.update({ where: key, data: { reason: 'x' } }),
    () => prisma.auditEvent.updateMany({ data: { reason: 'x' } }),
    () => prisma.auditEvent.upsert({ where: key, create, update: { reason: 'x' } }),
    () => prisma.auditEvent.delete({ where: key }),
    () => prisma.auditEvent.deleteMany(),
    () => prisma.auditSeal.update({ where: { sequence }, data: { sequence: 99 } }),
    () =>
      prisma.auditSeal.upsert({ where: { sequence }, create: seal, update: { hash: seal.hash } }),
    () => prisma.auditSeal.delete({ where: { sequence } }),
    () => prisma.auditSeal.deleteMany()
  ]
  for (const change of changes) {
    await t.rejects(change, { message: /append-only/ }, String(change))
  }
  const before = await rows()
  const statements = ['AuditEvent', 'AuditSeal'].flatMap((table) => [
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
    `MERGE INTO "AuditSeal" s USING "AuditSeal" o ON s.sequence = o.sequence WHEN MATCHED THEN DELETE`
  )
  for (const statement of statements) {
    await t.rejects(prisma.$executeRawUnsafe(statement), { message: /append-only/ }, statement)
  }
  t.same(await rows(), before)
})

t.test('also where ordinary triggers are silenced', async (t) => {
  const before = await rows()
  for (const table of ['AuditEvent', 'AuditSeal']) {
    for (const statement of [`DELETE FROM "${table}"`, `TRUNCATE "${table}"`]) {
      const asReplica = prisma.$transaction([
        prisma.$executeRaw`SET LOCAL session_replication_role = replica`,
        prisma.$executeRawUnsafe(statement)
      ])
      await t.rejects(asReplica, { message: /append-only/ }, statement)
    }
  }
  t.same(await rows(), before)
})

async function rows() {
  return {
    events: await prisma.auditEvent.findMany({ orderBy: { id: 'asc' } }),
    seals: await prisma.auditSeal.findMany({ orderBy: { sequence: 'asc' } })
  }
}

/** Another event's row, its MAC too, under an id of its own. */
function copyOf(index: number): Prisma.Sql {
  copies += 1
  return Prisma.sql`
    INSERT INTO "AuditEvent"
    SELECT (jsonb_populate_record(e, jsonb_build_object('id', ${copyId(copies)}::text))).*
    FROM "AuditEvent" AS e ${of(index)}`
}
const copyId = (number: number) => `00000000-0000-7000-8000-${String(number).padStart(12, '0')}`

type Found = [what: Breach['what'], sequence: number | null, index: number | 'copy' | null]

const tamperings: [name: string, tamper: () => Prisma.Sql[], found: Found][] = [
  ...[
    'type',
    'outcome',
    'actorKind',
    'actorId',
    'credential',
    'targetKind',
    'targetId',
    'userId',
    'reason',
    'ticket',
    'address',
    'requestId',
    'details',
    'mac'
  ].map((column): (typeof tamperings)[number] => [
    `${column} of an event altered`,
    () => [
      Prisma.sql`UPDATE "AuditEvent" SET ${Prisma.raw(`"${column}" = ${OTHERS[column]}`)} ${of(2)}`
    ],
    ['event-altered', 3, 2]
  ]),
  [
    'the spelling of details altered',
    () => [Prisma.sql`UPDATE "AuditEvent" SET details = (details::text || ' ')::json ${of(2)}`],
    ['event-altered', 3, 2]
  ],
  [
    'the account of an event altered',
    () => [Prisma.sql`UPDATE "AuditEvent" SET "accountId" = ${randomUUID()}::uuid ${of(3)}`],
    ['event-missing', 4, 3]
  ],
  [
    'the account of an event altered, in its seal too',
    () => {
      const other = randomUUID()
      return [
        Prisma.sql`UPDATE "AuditEvent" SET "accountId" = ${other}::uuid ${of(3)}`,
        Prisma.sql`UPDATE "AuditSeal" SET "accountId" = ${other}::uuid ${sealOf(3)}`
      ]
    },
    ['event-altered', 4, null]
  ],
  [
    'the instant of an event moved by two thousand years, in its seal too',
    () => [
      Prisma.sql`UPDATE "AuditEvent" SET "occurredAt" = '2026-01-05T09:00:00Z BC' ${of(0)}`,
      Prisma.sql`UPDATE "AuditSeal" SET "occurredAt" = '2026-01-05T09:00:00Z BC' ${sealOf(0)}`
    ],
    ['event-altered', 1, null]
  ],
  [
    'an event deleted',
    () => [Prisma.sql`DELETE FROM "AuditEvent" ${of(0)}`],
    ['event-missing', 1, 0]
  ],
  [
    'an event and its seal deleted',
    () => [
      Prisma.sql`DELETE FROM "AuditEvent" ${of(1)}`,
      Prisma.sql`DELETE FROM "AuditSeal" ${sealOf(1)}`
    ],
    ['seal-missing', 2, null]
  ],
  [
    'a seal deleted',
    () => [Prisma.sql`DELETE FROM "AuditSeal" ${sealOf(2)}`],
    ['seal-missing', 3, null]
  ],
  [
    'the last seal deleted',
    () => [Prisma.sql`DELETE FROM "AuditSeal" ${sealOf(4)}`],
    ['event-unsealed', null, 4]
  ],
  [
    'a seal altered',
    () => [Prisma.sql`UPDATE "AuditSeal" SET hash = decode(repeat('00', 32), 'hex') ${sealOf(1)}`],
    ['seal-altered', 2, 1]
  ],
  [
    'a seal’s place altered',
    () => [Prisma.sql`UPDATE "AuditSeal" SET sequence = 0 ${sealOf(3)}`],
    ['seal-altered', 0, 3]
  ],
  [
    'a row copied with its MAC under another id, unsealed',
    () => [copyOf(1)],
    ['event-foreign', null, 'copy']
  ],
  [
    'a row copied with its MAC under another id, and put into the queue',
    () => [
      copyOf(1),
      Prisma.sql`INSERT INTO "UnsealedAuditEvent"
        SELECT "accountId", "occurredAt", id FROM "AuditEvent" WHERE id = ${copyId(copies)}::uuid`
    ],
    ['event-foreign', null, 'copy']
  ],
  [
    'a row copied with its MAC under another id, and sealed',
    () => [
      copyOf(1),
      Prisma.sql`INSERT INTO "AuditSeal" SELECT 6, "accountId", "occurredAt", id, mac
        FROM "AuditEvent" WHERE id = ${copyId(copies)}::uuid`
    ],
    ['event-altered', 6, 'copy']
  ],
  [
    'an event taken out of the queue',
    () => [Prisma.sql`DELETE FROM "UnsealedAuditEvent" ${of(SEALED)}`],
    ['event-unsealed', null, SEALED]
  ],
  [
    'an event that waits, altered',
    () => [Prisma.sql`UPDATE "AuditEvent" SET reason = 'x' ${of(SEALED + 1)}`],
    ['event-foreign', null, SEALED + 1]
  ],
  [
    'an event that waits, deleted',
    () => [Prisma.sql`DELETE FROM "AuditEvent" ${of(SEALED + 1)}`],
    ['event-missing', null, SEALED + 1]
  ],
  [
    'all of it deleted but the last seal',
    () => [
      Prisma.sql`DELETE FROM "AuditEvent"`,
      Prisma.sql`DELETE FROM "AuditSeal" WHERE sequence < 5`
    ],
    ['seal-missing', 1, null]
  ]
]

/** What SQL writes in place of what is there. */
const OTHERS: Record<string, string> = {
  type: `'user.read'`,
  outcome: `'refused'`,
  actorKind: `'operator'`,
  actorId: `upper("actorId")`,
  credential: 'NULL',
  targetKind: `NULL`,
  targetId: `NULL`,
  userId: `'${NO_ACCOUNT}'`,
  reason: `reason || ' '`,
  ticket: `''`,
  address: `'198.51.100.8'`,
  requestId: `'${NO_ACCOUNT}'`,
  details: `NULL`,
  mac: `decode(repeat('00', 32), 'hex')`
}

for (const [name, tamper, [what, sequence, index]] of tamperings) {
  t.test(`${what}: ${name}`, async (t) => {
    await startOver()
    await asOwner(...tamper())
    const verdict = await verify()
    const breach = verdict.isWhole ? null : verdict.breach
    t.match(breach, { what, sequence: sequence === null ? null : BigInt(sequence) })
    if (index === null) return
    const { accountId, occurredAt, id } = index === 'copy' ? eventAt(1) : eventAt(index)
    t.match(breach, {
      accountId,
      eventId: index === 'copy' ? copyId(copies) : id,
      occurredAt: occurredAt.toISOString()
    })
  })
}

t.test('the newest events can go with their seals, but not where a head was noted', async (t) => {
  await startOver()
  const whole = await verify()
  const noted = whole.isWhole ? whole.head : null
  await sealDue()
  t.match(await verify(noted), { isWhole: true, verified: SEALED + WAITING }, 'as the chain grows')
  await asOwner(
    Prisma.sql`DELETE FROM "AuditSeal" WHERE sequence >= 5`,
    Prisma.sql`DELETE FROM "AuditEvent" WHERE "occurredAt" >= ${eventAt(4).occurredAt}`
  )
  t.match(await verify(), { isWhole: true, verified: 4, unsealed: 0 })
  t.match(await verify(noted), { breach: { what: 'head-missing', sequence: 5n } })
  const other = parseHead(`4:${'ab'.repeat(32)}`)
  t.match(await verify(other), {
    breach: { what: 'head-missing', sequence: 4n, eventId: eventAt(3).id }
  })
})

t.test('another key verifies nothing', async (t) => {
  await startOver()
  t.match(await verify(null, Buffer.alloc(32, 2)), {
    breach: { what: 'event-altered', sequence: 1n }
  })
})

t.test('an empty record is whole', async (t) => {
  await asOwner(Prisma.sql`TRUNCATE "AuditEvent", "AuditSeal", "UnsealedAuditEvent"`)
  t.same(await verify(), { isWhole: true, verified: 0, unsealed: 0, head: null })
  const noted = parseHead(`1:${'ab'.repeat(32)}`)
  t.match(await verify(noted), { breach: { what: 'head-missing', sequence: 1n } })
})

t.test('what is written meanwhile is not seen', ON_SERVER, async (t) => {
  await startOver()
  let seen = 0
  // The second page is asked for when everything behind the first has changed.
  const slow = prisma.$extends({
    query: {
      async $queryRaw({ args, query }) {
        const answer = await query(args)
        seen += 1
        if (seen === 1) {
          await sealDue()
          await record(signEvent(KEY, auditEvent()))
        }
        return answer
      }
    }
  }) as unknown as typeof prisma
  const verdict = await createAuditTrail(slow).verify({ key: KEY, noted: null, pageSize: 2 })
  t.ok(seen > 3)
  t.match(verdict, { isWhole: true, verified: SEALED, unsealed: WAITING })
  t.match(await verify(), { isWhole: true, verified: SEALED + WAITING, unsealed: 1 })
})
