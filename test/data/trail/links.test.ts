// Sealing: every event that was committed gets its place in the chain, once, whoever seals and whoever writes meanwhile.
import { randomUUID } from 'node:crypto'
import t, { type Test } from 'tap'
import { createSealing } from '../../../src/audit/chaining.ts'
import { chainOn } from '../../../src/core/audit/chain.ts'
import {
  type AuditEvent,
  type SignedAuditEvent,
  signEvent
} from '../../../src/core/audit/events.ts'
import { type Database, openDatabase } from '../../../src/data/engine/database.ts'
import { writeRecord } from '../../../src/data/trail/act-records.ts'
import { createAuditEvents } from '../../../src/data/trail/audit-events.ts'
import { createAuditTrail } from '../../../src/data/trail/audit-trail.ts'
import { createAuditSeals } from '../../../src/data/trail/links.ts'
import { pause } from '../../../src/plugins/background.ts'
import { ON_SERVER } from '../../support/app.ts'
import { auditEvent } from '../../support/audit-events.ts'
import { NINE } from '../../support/clock.ts'
import { openTestDatabase } from '../../support/database.ts'
import { atOnce } from '../../support/replicas.ts'

const KEY = Buffer.alloc(32, 1)

const database = await openTestDatabase(t)
const { prisma } = database
const { record, sealing, logged } = sealerOn(database)

function sealerOn(database: Database) {
  const { prisma } = database
  const auditEvents = createAuditEvents(database)
  const seals = createAuditSeals(prisma)
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
    seals,
    sealing: createSealing({ seals, key: KEY, log, pause, now: () => NINE }),
    logged
  }
}

const inQueue = () => prisma.unsealedAuditEvent.count()
const sealsOf = (db = prisma) => db.auditSeal.findMany({ orderBy: { sequence: 'asc' } })
const later = (seconds: number) => new Date(NINE.getTime() + seconds * 1000)

/** Whether the seals are one chain over just these events, and are found to be. */
async function isChainOver(t: Test, events: SignedAuditEvent[]): Promise<void> {
  const links = chainOn(
    KEY,
    null,
    events.map(({ mac }) => mac)
  )
  const expected = events.map(({ accountId, occurredAt, id }, index) => {
    const { sequence, hash } = links[index] ?? {}
    return { sequence, accountId, occurredAt, eventId: id, hash: Buffer.from(hash ?? '') }
  })
  const found = (await sealsOf()).map(({ hash, ...seal }) => ({ ...seal, hash: Buffer.from(hash) }))
  t.same(found, expected)
}

const chained: SignedAuditEvent[] = []

t.test(
  'events are chained oldest first, over all accounts, in as many batches as it takes',
  async (t) => {
    t.equal(await sealing.sealDue(), 0, 'nothing to do')
    const seconds = [5, 1, 4, 2, 3, 0, 6]
    const events: SignedAuditEvent[] = []
    for (const second of seconds) events.push(await record({ occurredAt: later(second) }))
    t.equal(await inQueue(), 7)
    t.equal(
      await sealing.sealDue({ limit: 3, stop: AbortSignal.abort() }),
      3,
      'one when told to stop'
    )
    t.equal(await inQueue(), 4)
    t.equal(await sealing.sealDue({ limit: 3 }), 4)
    t.equal(await inQueue(), 0)
    chained.push(...events.sort((one, other) => +one.occurredAt - +other.occurredAt))
    await isChainOver(t, chained)
    t.equal(await sealing.sealDue({ limit: 3 }), 0, 'and once')
    await isChainOver(t, chained)
  }
)

t.test('an event that comes late is chained behind what is sealed', async (t) => {
  const late = await record({ occurredAt: later(-3600) })
  t.equal(await sealing.sealDue(), 1)
  chained.push(late)
  await isChainOver(t, chained)
})

t.test('an event of an act that was rolled back is in no queue', async (t) => {
  const rolledBack = prisma.$transaction(async (transaction) => {
    await writeRecord(transaction, signEvent(KEY, auditEvent()))
    throw new Error('the act failed')
  })
  await t.rejects(rolledBack, { message: 'the act failed' })
  t.equal(await inQueue(), 0)
})

t.test('a batch is sealed whole or not at all', async (t) => {
  const event = await record()
  await prisma.$executeRaw`CREATE RULE kept AS ON DELETE TO "UnsealedAuditEvent" DO ALSO SELECT 1 / 0`
  await t.rejects(sealing.sealDue())
  await isChainOver(t, chained)
  await prisma.$executeRaw`DROP RULE kept ON "UnsealedAuditEvent"`
  t.equal(await sealing.sealDue(), 1)
  chained.push(event)
  await isChainOver(t, chained)
})

t.test(
  'what the service did not write gets no seal, holds up nothing, and is named in the log',
  async (t) => {
    const [first, second] = [await record(), await record()]
    const copy = await forge(first, { id: randomUUID() })
    for (const instant of ['infinity', '-infinity', '294276-01-01', '4713-01-01 BC']) {
      await forge(second, { instant })
    }
    const gone = { accountId: randomUUID(), occurredAt: NINE, id: randomUUID() }
    await prisma.unsealedAuditEvent.create({ data: gone })
    const [sealed] = chained
    if (sealed) {
      const { accountId, occurredAt, id } = sealed
      await prisma.unsealedAuditEvent.create({ data: { accountId, occurredAt, id } })
    }

    t.equal(await sealing.sealDue({ limit: 2 }), 2)
    t.equal(await inQueue(), 0)
    chained.push(first, second)
    await isChainOver(t, chained)
    const reasons = (why: string) => logged.filter((line) => 'why' in line && line.why === why)
    t.equal(reasons('not written by the service').length, 5)
    t.ok(logged.some((line) => 'id' in line && line.id === copy))
    t.match(reasons('gone'), [
      { accountId: gone.accountId, id: gone.id, occurredAt: NINE.toISOString() }
    ])
    t.match(reasons('sealed before'), [{ id: sealed?.id }])
    t.equal(await sealing.sealDue(), 0)
    t.equal(logged.length, 7, 'once')
  }
)

t.test('0: while another replica is at it', ON_SERVER, async (t) => {
  const second = await openDatabase({ url: database.url ?? '' })
  t.teardown(() => second.close())
  const other = sealerOn(second)
  const event = await record()
  await prisma.$transaction(async (transaction) => {
    await transaction.$executeRaw`SELECT pg_advisory_xact_lock(7301003)`
    const outcome = await other.seals.sealNext({ key: KEY, limit: 10 })
    t.same(outcome, { sealed: 0, refused: [], upTo: null })
  })
  t.equal(await sealing.sealDue(), 1)
  chained.push(event)
  await isChainOver(t, chained)
})

t.test(
  'two replicas seal while eight writers write: no event lost, none twice, no gap',
  ON_SERVER,
  async (t) => {
    const second = await openDatabase({ url: database.url ?? '' })
    t.teardown(() => second.close())
    const before = await prisma.auditEvent.count()
    const sealers = [sealerOn(database), sealerOn(second)]
    let writing = true
    const atWork = sealers.map(async ({ sealing }) => {
      let sealed = 0
      while (writing) sealed += await sealing.sealDue({ limit: 7 })
      return sealed
    })
    await atOnce(8, async (writer) => {
      for (let count = 0; count < 40; count++) {
        const { prisma } = sealers[writer % 2] ?? { prisma: database.prisma }
        // Some are written long before they are committed, and after others that are.
        await prisma.$transaction(async (transaction) => {
          await writeRecord(transaction, signEvent(KEY, auditEvent()))
          if (count % 4 === writer % 4) await transaction.$executeRaw`SELECT pg_sleep(0.01)`
        })
      }
    })
    writing = false
    const counts = await Promise.all(atWork)
    const rest = await sealing.sealDue()
    t.equal((counts[0] ?? 0) + (counts[1] ?? 0) + rest, 320)
    t.ok(
      counts.every((count) => count > 0),
      'both have sealed'
    )
    t.equal(await prisma.auditEvent.count(), before + 320)
    t.equal(await inQueue(), 0)
    const sequences = (await sealsOf()).map(({ sequence }) => Number(sequence))
    t.same(
      sequences,
      sequences.map((_, index) => index + 1)
    )
    const verdict = await createAuditTrail(prisma).verify({ key: KEY, noted: null, pageSize: 100 })
    t.match(
      verdict,
      { breach: { what: 'event-foreign' } },
      'the chain is whole; the forged ones are there'
    )
  }
)

/** Copies an event, its MAC too, under another id or instant. Returns the id. */
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
