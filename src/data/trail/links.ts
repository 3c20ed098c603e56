// Writes the hash chain over all events. A background job does this after the events were written, so that no act waits
// for the one chain of the whole deployment. Until then, an event stands in a queue. A database trigger fills the queue
// in the transaction of the event.
import { type ChainHead, chainOn } from '../../core/audit/chain.ts'
import { isGenuine } from '../../core/audit/events.ts'
import type { PrismaClient } from '../../generated/prisma/client.ts'
import type { Transaction } from './act-records.ts'
import {
  asStoredEvent,
  type EventKey,
  type EventRow,
  eventColumns,
  isEventOfKey,
  type JoinedEventRow
} from './audit-rows.ts'

export interface ChainNextOptions {
  key: Uint8Array
  /** The maximum number of events. */
  limit: number
}

export interface ChainOutcome {
  chained: number
  /** Queue entries that the service cannot have written. They are removed from the queue without a link. */
  refused: RefusedEvent[]
  /** When the last event of the batch occurred; null if the batch is empty or the instant is unknown. */
  upTo: string | null
}

export interface RefusedEvent {
  event: EventKey
  why: 'missing' | 'already chained' | 'not written by the service'
}

/** The current state of the queue. */
export interface ChainBacklog {
  waiting: number
  oldestAt: Date | null
}

type QueuedRow = JoinedEventRow & { isChained: boolean }
type QueuedJson = Omit<QueuedRow, 'mac'> & { mac: string | null }

// Arbitrary. It must only differ from the other advisory locks of this service.
const CHAIN_LOCK = 7_301_003

export type AuditLinks = ReturnType<typeof createAuditLinks>

export function createAuditLinks(prisma: PrismaClient) {
  return {
    /** Chains the events that have waited longest. Chains none while another replica is chaining. */
    chainNext({ key, limit }: ChainNextOptions): Promise<ChainOutcome> {
      return prisma.$transaction(
        async (transaction) => {
          const queued = (await takeTurn(transaction)) ? await readOldest(transaction, limit) : []
          if (queued.length === 0) return { chained: 0, refused: [], upTo: null }
          const verdicts = queued.map((row) => judge(key, row))
          const sound = verdicts.flatMap((verdict) => ('sound' in verdict ? [verdict.sound] : []))
          const refused = verdicts.flatMap((verdict) => ('why' in verdict ? [verdict] : []))
          const macs = sound.map(({ mac }) => mac)
          await insert(transaction, sound, chainOn(key, await readHead(transaction), macs))
          await removeFromQueue(transaction, queued)
          return { chained: sound.length, refused, upTo: queued.at(-1)?.occurredAt ?? null }
        },
        // Each statement must see the links that another replica committed before this one got the lock.
        { isolationLevel: 'ReadCommitted' }
      )
    },

    async backlog(): Promise<ChainBacklog> {
      const [backlog] = await prisma.$queryRaw<ChainBacklog[]>`
        SELECT count(*)::int AS waiting, min("occurredAt") AS "oldestAt" FROM "UnsealedAuditEvent"`
      return backlog ?? { waiting: 0, oldestAt: null }
    }
  }
}

/** Locks the chain until the transaction ends. Returns false if another replica holds the lock. */
async function takeTurn(transaction: Transaction): Promise<boolean> {
  const [lock] = await transaction.$queryRaw<{ isOurs: boolean }[]>`
    SELECT pg_try_advisory_xact_lock(${CHAIN_LOCK}) AS "isOurs"`
  return lock?.isOurs === true
}

// Reads all rows as one JSON value. The driver would need more time to parse twenty columns of each of a thousand rows
// than it takes to chain them.
async function readOldest(transaction: Transaction, limit: number): Promise<QueuedRow[]> {
  const [found] = await transaction.$queryRaw<{ rows: QueuedJson[] | null }[]>`
    SELECT json_agg(queued) AS rows FROM (
      SELECT ${eventColumns('k')}, l.sequence IS NOT NULL AS "isChained"
      FROM (
        SELECT * FROM "UnsealedAuditEvent" ORDER BY "occurredAt", id, "accountId" LIMIT ${limit}
      ) AS k
      LEFT JOIN "AuditEvent" AS e ON ${isEventOfKey}
      LEFT JOIN "AuditSeal" AS l
        ON (l."accountId", l."occurredAt", l."eventId") = (k."accountId", k."occurredAt", k.id)
      ORDER BY k."occurredAt", k.id, k."accountId"
    ) AS queued`
  return (found?.rows ?? []).map(asQueuedRow)
}

/** PostgreSQL writes bytes into JSON as hexadecimal digits after the two characters `\\x`. */
function asQueuedRow({ mac, ...row }: QueuedJson): QueuedRow {
  return { ...row, mac: mac && Buffer.from(mac.slice(2), 'hex') } as QueuedRow
}

function judge(key: Uint8Array, row: QueuedRow): { sound: EventRow } | RefusedEvent {
  const { accountId, instant, occurredAt, id } = row
  const event = { accountId, instant, occurredAt, id }
  if (row.mac === null) return { event, why: 'missing' }
  if (row.isChained) return { event, why: 'already chained' }
  if (!isGenuine(key, asStoredEvent(row))) return { event, why: 'not written by the service' }
  return { sound: row }
}

async function readHead(transaction: Transaction): Promise<ChainHead | null> {
  return transaction.auditLink.findFirst({
    select: { sequence: true, hash: true },
    orderBy: { sequence: 'desc' }
  })
}

async function insert(
  transaction: Transaction,
  events: EventKey[],
  links: ChainHead[]
): Promise<void> {
  const rows = links.map(({ sequence, hash }, index) => {
    const { accountId, instant, id } = events[index] ?? {}
    const hex = Buffer.from(hash).toString('hex')
    return { sequence: String(sequence), accountId, instant, id, hash: hex }
  })
  await transaction.$executeRaw`
    INSERT INTO "AuditSeal" (sequence, "accountId", "occurredAt", "eventId", hash)
    SELECT sequence, "accountId", instant, id, decode(hash, 'hex')
    FROM json_to_recordset(${JSON.stringify(rows)}::json)
      AS link (sequence bigint, "accountId" uuid, instant timestamptz, id uuid, hash text)`
}

async function removeFromQueue(transaction: Transaction, events: EventKey[]): Promise<void> {
  const keys = events.map(({ accountId, instant, id }) => ({ accountId, instant, id }))
  await transaction.$executeRaw`
    DELETE FROM "UnsealedAuditEvent" AS queued
    USING json_to_recordset(${JSON.stringify(keys)}::json)
      AS taken ("accountId" uuid, instant timestamptz, id uuid)
    WHERE (queued."accountId", queued."occurredAt", queued.id)
      = (taken."accountId", taken.instant, taken.id)`
}
