// The audit trail against the owner of the database: verification finds every change that was made with the triggers
// disabled.
import { randomUUID } from 'node:crypto'
import t from 'tap'
import { createChaining } from '../../../src/audit/chaining.ts'
import { type Breach, type ChainHead, parseHead } from '../../../src/core/audit/chain.ts'
import { NO_ACCOUNT, type SignedAuditEvent, signEvent } from '../../../src/core/audit/events.ts'
import { createAuditEvents } from '../../../src/data/trail/audit-events.ts'
import { createAuditTrail } from '../../../src/data/trail/audit-trail.ts'
import { createAuditLinks } from '../../../src/data/trail/links.ts'
import { Prisma } from '../../../src/generated/prisma/client.ts'
import { pause } from '../../../src/plugins/background.ts'
import { ON_SERVER } from '../../support/app.ts'
import { auditEvent, HOSTILE_TEXTS } from '../../support/audit-events.ts'
import { NINE } from '../../support/clock.ts'
import { openTestDatabase } from '../../support/database.ts'

const KEY = Buffer.alloc(32, 1)
const CHAINED = 5
const WAITING = 2

const database = await openTestDatabase(t)
const { prisma } = database
const { record } = createAuditEvents(database)
const log = { error: (details: object) => t.fail('the chain rejected an event', details) }
const links = createAuditLinks(prisma)
const { chainDue } = createChaining({ links, key: KEY, log, pause, now: () => NINE })
const trail = createAuditTrail(prisma)

let events: SignedAuditEvent[] = []
let copies = 0

/** Writes a new audit trail with chained and queued events, of two accounts and of no account. */
async function startOver(): Promise<void> {
  await asOwner(Prisma.sql`TRUNCATE "AuditEvent", "AuditSeal", "UnsealedAuditEvent"`)
  const accounts = [randomUUID(), randomUUID(), NO_ACCOUNT]
  events = Array.from({ length: CHAINED + WAITING }, (_, index) =>
    signEvent(
      KEY,
      auditEvent({
        accountId: accounts[index % 3] ?? NO_ACCOUNT,
        occurredAt: new Date(NINE.getTime() + index),
        details: index % 2 ? null : { index, list: ['a', 'b'] }
      })
    )
  )
  for (const event of events.slice(0, CHAINED)) await record(event)
  await chainDue()
  for (const event of events.slice(CHAINED)) await record(event)
}

/** Runs statements with the triggers disabled, which only the owner of the tables can do. */
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
const linkOf = (index: number) => Prisma.sql`WHERE sequence = ${index + 1}`

await startOver()

t.test('an audit trail verifies as whole with every page size', async (t) => {
  for (const pageSize of [1, 2, CHAINED, CHAINED + WAITING, 1000]) {
    const verdict = await trail.verify({ key: KEY, noted: null, pageSize })
    const head = await prisma.auditLink.findFirst({ orderBy: { sequence: 'desc' } })
    t.match(verdict, {
      isWhole: true,
      verified: CHAINED,
      unchained: WAITING,
      head: { sequence: 5n }
    })
    t.same(verdict.isWhole && verdict.head?.hash, head?.hash)
  }
})

t.test('texts of every kind are stored unchanged and verify', async (t) => {
  for (const text of HOSTILE_TEXTS) {
    const given = { reason: text, ticket: text, details: { text, [text]: [text] }, address: text }
    const event = signEvent(KEY, auditEvent(given))
    await record(event)
    const where = { id: event.id, accountId: event.accountId }
    const { reason, ticket, details, address } = await prisma.auditEvent.findFirstOrThrow({ where })
    t.same({ reason, ticket, details, address }, given)
  }
  t.match(await verify(), { isWhole: true, unchained: WAITING + HOSTILE_TEXTS.length })
  await chainDue()
  t.match(await verify(), { isWhole: true, verified: CHAINED + WAITING + HOSTILE_TEXTS.length })
})

/** Copies the row of an event, with its MAC, under a new id. */
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
    'the account of an event altered, in its link of the chain too',
    () => {
      const other = randomUUID()
      return [
        Prisma.sql`UPDATE "AuditEvent" SET "accountId" = ${other}::uuid ${of(3)}`,
        Prisma.sql`UPDATE "AuditSeal" SET "accountId" = ${other}::uuid ${linkOf(3)}`
      ]
    },
    ['event-altered', 4, null]
  ],
  [
    'the instant of an event moved by two thousand years, in its link of the chain too',
    () => [
      Prisma.sql`UPDATE "AuditEvent" SET "occurredAt" = '2026-01-05T09:00:00Z BC' ${of(0)}`,
      Prisma.sql`UPDATE "AuditSeal" SET "occurredAt" = '2026-01-05T09:00:00Z BC' ${linkOf(0)}`
    ],
    ['event-altered', 1, null]
  ],
  [
    'an event deleted',
    () => [Prisma.sql`DELETE FROM "AuditEvent" ${of(0)}`],
    ['event-missing', 1, 0]
  ],
  [
    'an event and its link deleted',
    () => [
      Prisma.sql`DELETE FROM "AuditEvent" ${of(1)}`,
      Prisma.sql`DELETE FROM "AuditSeal" ${linkOf(1)}`
    ],
    ['link-missing', 2, null]
  ],
  [
    'a link deleted',
    () => [Prisma.sql`DELETE FROM "AuditSeal" ${linkOf(2)}`],
    ['link-missing', 3, null]
  ],
  [
    'the last link deleted',
    () => [Prisma.sql`DELETE FROM "AuditSeal" ${linkOf(4)}`],
    ['event-unchained', null, 4]
  ],
  [
    'a link altered',
    () => [Prisma.sql`UPDATE "AuditSeal" SET hash = decode(repeat('00', 32), 'hex') ${linkOf(1)}`],
    ['link-altered', 2, 1]
  ],
  [
    'the sequence of a link altered',
    () => [Prisma.sql`UPDATE "AuditSeal" SET sequence = 0 ${linkOf(3)}`],
    ['link-altered', 0, 3]
  ],
  [
    'a row copied with its MAC under another id',
    () => [copyOf(1)],
    ['event-foreign', null, 'copy']
  ],
  [
    'a row copied with its MAC under another id, and added to the queue',
    () => [
      copyOf(1),
      Prisma.sql`INSERT INTO "UnsealedAuditEvent"
        SELECT "accountId", "occurredAt", id FROM "AuditEvent" WHERE id = ${copyId(copies)}::uuid`
    ],
    ['event-foreign', null, 'copy']
  ],
  [
    'a row copied with its MAC under another id, and chained',
    () => [
      copyOf(1),
      Prisma.sql`INSERT INTO "AuditSeal" SELECT 6, "accountId", "occurredAt", id, mac
        FROM "AuditEvent" WHERE id = ${copyId(copies)}::uuid`
    ],
    ['event-altered', 6, 'copy']
  ],
  [
    'an event removed from the queue',
    () => [Prisma.sql`DELETE FROM "UnsealedAuditEvent" ${of(CHAINED)}`],
    ['event-unchained', null, CHAINED]
  ],
  [
    'a queued event altered',
    () => [Prisma.sql`UPDATE "AuditEvent" SET reason = 'x' ${of(CHAINED + 1)}`],
    ['event-foreign', null, CHAINED + 1]
  ],
  [
    'a queued event deleted',
    () => [Prisma.sql`DELETE FROM "AuditEvent" ${of(CHAINED + 1)}`],
    ['event-missing', null, CHAINED + 1]
  ],
  [
    'everything deleted except the last link',
    () => [
      Prisma.sql`DELETE FROM "AuditEvent"`,
      Prisma.sql`DELETE FROM "AuditSeal" WHERE sequence < 5`
    ],
    ['link-missing', 1, null]
  ]
]

/** The SQL expression that replaces the value of each column. */
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

t.test(
  'head-missing: the newest events deleted with their links, if a head was noted',
  async (t) => {
    await startOver()
    const whole = await verify()
    const noted = whole.isWhole ? whole.head : null
    await chainDue()
    t.match(
      await verify(noted),
      { isWhole: true, verified: CHAINED + WAITING },
      'the chain may grow'
    )
    await asOwner(
      Prisma.sql`DELETE FROM "AuditSeal" WHERE sequence >= 5`,
      Prisma.sql`DELETE FROM "AuditEvent" WHERE "occurredAt" >= ${eventAt(4).occurredAt}`
    )
    t.match(await verify(), { isWhole: true, verified: 4, unchained: 0 })
    t.match(await verify(noted), { breach: { what: 'head-missing', sequence: 5n } })
    const other = parseHead(`4:${'ab'.repeat(32)}`)
    t.match(await verify(other), {
      breach: { what: 'head-missing', sequence: 4n, eventId: eventAt(3).id }
    })
  }
)

t.test('event-altered: verification with another key', async (t) => {
  await startOver()
  t.match(await verify(null, Buffer.alloc(32, 2)), {
    breach: { what: 'event-altered', sequence: 1n }
  })
})

t.test('an empty audit trail verifies as whole', async (t) => {
  await asOwner(Prisma.sql`TRUNCATE "AuditEvent", "AuditSeal", "UnsealedAuditEvent"`)
  t.same(await verify(), {
    isWhole: true,
    verified: 0,
    unchained: 0,
    head: null,
    checkpoint: null
  })
  const noted = parseHead(`1:${'ab'.repeat(32)}`)
  t.match(await verify(noted), { breach: { what: 'head-missing', sequence: 1n } })
})

t.test('verification ignores rows that are written while it runs', ON_SERVER, async (t) => {
  await startOver()
  let seen = 0
  // Everything after the first page changes before the second page is read.
  const slow = prisma.$extends({
    query: {
      async $queryRaw({ args, query }) {
        const rows = await query(args)
        seen += 1
        if (seen === 1) {
          await chainDue()
          await record(signEvent(KEY, auditEvent()))
        }
        return rows
      }
    }
  }) as unknown as typeof prisma
  const verdict = await createAuditTrail(slow).verify({ key: KEY, noted: null, pageSize: 2 })
  t.ok(seen > 3)
  t.match(verdict, { isWhole: true, verified: CHAINED, unchained: WAITING })
  t.match(await verify(), { isWhole: true, verified: CHAINED + WAITING, unchained: 1 })
})
