// Every committed event gets exactly one link in the chain, however many replicas chain and write at the same time.
import { randomUUID } from 'node:crypto'
import t, { type Test } from 'tap'
import { createChaining } from '../../../src/audit/chaining.ts'
import { chainOn } from '../../../src/core/audit/chain.ts'
import {
  type AuditEvent,
  type SignedAuditEvent,
  signEvent
} from '../../../src/core/audit/events.ts'
import type { Database } from '../../../src/data/engine/database.ts'
import { writeRecord } from '../../../src/data/trail/act-records.ts'
import { createAuditEvents } from '../../../src/data/trail/audit-events.ts'
import { createAuditTrail } from '../../../src/data/trail/audit-trail.ts'
import { createAuditLinks } from '../../../src/data/trail/links.ts'
import { pause } from '../../../src/plugins/background.ts'
import { ON_SERVER } from '../../support/app.ts'
import { auditEvent } from '../../support/audit-events.ts'
import { NINE } from '../../support/clock.ts'
import { openTestDatabase, openTestReplica } from '../../support/database.ts'
import { atOnce } from '../../support/replicas.ts'

const KEY = Buffer.alloc(32, 1)

const database = await openTestDatabase(t)
const { prisma } = database
const { record, chaining, logged } = chainerOn(database)

function chainerOn(database: Database) {
  const { prisma } = database
  const auditEvents = createAuditEvents(database)
  const links = createAuditLinks(prisma)
  const logged: object[] = []
  const log = { error: (details: object, message: string) => logged.push({ ...details, message }) }
  async function record(given: Partial<AuditEvent> = {}): Promise<SignedAuditEvent> {
    const event = signEvent(KEY, auditEvent(given))
    await auditEvents.record(event)
    return event
  }
  return {
    prisma,
    record,
    links,
    chaining: createChaining({ links, key: KEY, log, pause, now: () => NINE }),
    logged
  }
}

const countQueue = () => prisma.unchainedAuditEvent.count()
const readLinks = () => prisma.auditLink.findMany({ orderBy: { sequence: 'asc' } })
const later = (seconds: number) => new Date(NINE.getTime() + seconds * 1000)

/** Asserts that the links are one chain over exactly these events. */
async function assertChainOver(t: Test, events: SignedAuditEvent[]): Promise<void> {
  const links = chainOn(
    KEY,
    null,
    events.map(({ mac }) => mac)
  )
  const expected = events.map(({ accountId, occurredAt, id }, index) => {
    const { sequence, hash } = links[index] ?? {}
    return { sequence, accountId, occurredAt, eventId: id, hash: Buffer.from(hash ?? '') }
  })
  const found = (await readLinks()).map(({ hash, ...link }) => ({
    ...link,
    hash: Buffer.from(hash)
  }))
  t.same(found, expected)
}

const chained: SignedAuditEvent[] = []

t.test(
  'the events of all accounts are chained oldest first, in as many batches as necessary',
  async (t) => {
    t.equal(await chaining.chainDue(), 0, 'nothing to do')
    const seconds = [5, 1, 4, 2, 3, 0, 6]
    const events: SignedAuditEvent[] = []
    for (const second of seconds) events.push(await record({ occurredAt: later(second) }))
    t.equal(await countQueue(), 7)
    t.equal(
      await chaining.chainDue({ limit: 3, stop: AbortSignal.abort() }),
      3,
      'one batch after the stop signal'
    )
    t.equal(await countQueue(), 4)
    t.equal(await chaining.chainDue({ limit: 3 }), 4)
    t.equal(await countQueue(), 0)
    chained.push(...events.sort((one, other) => +one.occurredAt - +other.occurredAt))
    await assertChainOver(t, chained)
    t.equal(await chaining.chainDue({ limit: 3 }), 0, 'every event only once')
    await assertChainOver(t, chained)
  }
)

t.test('an event that is written late is chained after the newer ones', async (t) => {
  const late = await record({ occurredAt: later(-3600) })
  t.equal(await chaining.chainDue(), 1)
  chained.push(late)
  await assertChainOver(t, chained)
})

t.test('an event of an act that was rolled back is not queued', async (t) => {
  const rolledBack = prisma.$transaction(async (transaction) => {
    await writeRecord(transaction, signEvent(KEY, auditEvent()))
    throw new Error('the act failed')
  })
  await t.rejects(rolledBack, { message: 'the act failed' })
  t.equal(await countQueue(), 0)
})

t.test('a batch is chained completely or not at all', async (t) => {
  const event = await record()
  await prisma.$executeRaw`CREATE RULE kept AS ON DELETE TO "UnsealedAuditEvent" DO ALSO SELECT 1 / 0`
  await t.rejects(chaining.chainDue())
  await assertChainOver(t, chained)
  await prisma.$executeRaw`DROP RULE kept ON "UnsealedAuditEvent"`
  t.equal(await chaining.chainDue(), 1)
  chained.push(event)
  await assertChainOver(t, chained)
})

t.test(
  'rows that the service did not write get no link, block no others, and are logged',
  async (t) => {
    const [first, second] = [await record(), await record()]
    const copy = await forge(first, { id: randomUUID() })
    for (const instant of ['infinity', '-infinity', '294276-01-01', '4713-01-01 BC']) {
      await forge(second, { instant })
    }
    const gone = { accountId: randomUUID(), occurredAt: NINE, id: randomUUID() }
    await prisma.unchainedAuditEvent.create({ data: gone })
    const [done] = chained
    if (done) {
      const { accountId, occurredAt, id } = done
      await prisma.unchainedAuditEvent.create({ data: { accountId, occurredAt, id } })
    }

    t.equal(await chaining.chainDue({ limit: 2 }), 2)
    t.equal(await countQueue(), 0)
    chained.push(first, second)
    await assertChainOver(t, chained)
    const reasons = (why: string) => logged.filter((line) => 'why' in line && line.why === why)
    t.equal(reasons('not written by the service').length, 5)
    t.ok(logged.some((line) => 'id' in line && line.id === copy))
    t.match(reasons('missing'), [
      { accountId: gone.accountId, id: gone.id, occurredAt: NINE.toISOString() }
    ])
    t.match(reasons('already chained'), [{ id: done?.id }])
    t.equal(await chaining.chainDue(), 0)
    t.equal(logged.length, 7, 'each logged once')
  }
)

t.test('no event is chained while another replica holds the lock', ON_SERVER, async (t) => {
  const second = await openTestReplica(t, database.url ?? '')
  const other = chainerOn(second)
  const event = await record()
  await prisma.$transaction(async (transaction) => {
    await transaction.$executeRaw`SELECT pg_advisory_xact_lock(7301003)`
    const outcome = await other.links.chainNext({ key: KEY, limit: 10 })
    t.same(outcome, { chained: 0, refused: [], upTo: null })
  })
  t.equal(await chaining.chainDue(), 1)
  chained.push(event)
  await assertChainOver(t, chained)
})

t.test(
  'two replicas chain while eight writers write: no event is lost or chained twice',
  ON_SERVER,
  async (t) => {
    const second = await openTestReplica(t, database.url ?? '')
    const before = await prisma.auditEvent.count()
    const chainers = [chainerOn(database), chainerOn(second)]
    let writing = true
    const atWork = chainers.map(async ({ chaining }) => {
      let count = 0
      while (writing) count += await chaining.chainDue({ limit: 7 })
      return count
    })
    await atOnce(8, async (writer) => {
      for (let count = 0; count < 40; count++) {
        const { prisma } = chainers[writer % 2] ?? { prisma: database.prisma }
        // Some events are written long before their transaction commits, so later events are committed first.
        await prisma.$transaction(async (transaction) => {
          await writeRecord(transaction, signEvent(KEY, auditEvent()))
          if (count % 4 === writer % 4) await transaction.$executeRaw`SELECT pg_sleep(0.01)`
        })
      }
    })
    writing = false
    const counts = await Promise.all(atWork)
    const rest = await chaining.chainDue()
    t.equal((counts[0] ?? 0) + (counts[1] ?? 0) + rest, 320)
    t.ok(
      counts.every((count) => count > 0),
      'both have chained'
    )
    t.equal(await prisma.auditEvent.count(), before + 320)
    t.equal(await countQueue(), 0)
    const sequences = (await readLinks()).map(({ sequence }) => Number(sequence))
    t.same(
      sequences,
      sequences.map((_, index) => index + 1)
    )
    const verdict = await createAuditTrail(prisma).verify({ key: KEY, noted: null, pageSize: 100 })
    t.match(
      verdict,
      { breach: { what: 'event-foreign' } },
      'only the forged events are found: the chain itself is whole'
    )
  }
)

/** Copies an event, with its MAC, under another id or instant. Returns the id. */
async function forge({ id }: SignedAuditEvent, given: { id?: string; instant?: string }) {
  const copy = { id, instant: NINE.toISOString(), ...given }
  await prisma.$executeRaw`
    INSERT INTO "AuditEvent" ("accountId", "occurredAt", id, type, outcome, "actorKind", "actorId", credential,
      "targetKind", "targetId", "userId", reason, ticket, address, "requestId", details, mac)
    SELECT "accountId", ${copy.instant}::timestamptz, ${copy.id}::uuid, type, outcome, "actorKind", "actorId",
      credential, "targetKind", "targetId", "userId", reason, ticket, address, "requestId", details, mac
    FROM "AuditEvent" WHERE id = ${id}::uuid AND "occurredAt" = ${NINE}`
  return copy.id
}
