// The chain over all events. It is made after they were written, so that no act waits for what the whole deployment
// shares; what is not chained yet stands in a queue that the database itself fills, in the event's own transaction.

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

export interface SealOptions {
  key: Uint8Array
  /** How many events at most. */
  limit: number
}

export interface SealOutcome {
  sealed: number
  /** What stood in the queue and can't have been put there by the service: taken out, without a seal. */
  refused: RefusedEvent[]
  /** When the last of both occurred; null when that can't be told, and when there was none. */
  upTo: string | null
}

export interface RefusedEvent {
  event: EventKey
  why: 'gone' | 'sealed before' | 'not written by the service'
}

/** What stands in the queue just now. */
export interface SealBacklog {
  waiting: number
  oldestAt: Date | null
}

type QueuedRow = JoinedEventRow & { isSealed: boolean }
type QueuedJson = Omit<QueuedRow, 'mac'> & { mac: string | null }

// Any constant does; it only has to differ from the other advisory locks of this service.
const SEALING_LOCK = 7_301_003

export type AuditSeals = ReturnType<typeof createAuditSeals>

export function createAuditSeals(prisma: PrismaClient) {
  return {
    /** Seals the events that have waited longest; none while another replica is at it. */
    sealNext({ key, limit }: SealOptions): Promise<SealOutcome> {
      return prisma.$transaction(
        async (transaction) => {
          const queued = (await isOurTurn(transaction)) ? await oldest(transaction, limit) : []
          if (queued.length === 0) return { sealed: 0, refused: [], upTo: null }
          const verdicts = queued.map((row) => judge(key, row))
          const sound = verdicts.flatMap((verdict) => ('sound' in verdict ? [verdict.sound] : []))
          const refused = verdicts.flatMap((verdict) => ('why' in verdict ? [verdict] : []))
          const macs = sound.map(({ mac }) => mac)
          await insert(transaction, sound, chainOn(key, await headOf(transaction), macs))
          await takeOut(transaction, queued)
          return { sealed: sound.length, refused, upTo: queued.at(-1)?.occurredAt ?? null }
        },
        // What another replica has sealed before our turn must be seen: each statement looks for itself.
        { isolationLevel: 'ReadCommitted' }
      )
    },

    async backlog(): Promise<SealBacklog> {
      const [backlog] = await prisma.$queryRaw<SealBacklog[]>`
        SELECT count(*)::int AS waiting, min("occurredAt") AS "oldestAt" FROM "UnsealedAuditEvent"`
      return backlog ?? { waiting: 0, oldestAt: null }
    }
  }
}

async function isOurTurn(transaction: Transaction): Promise<boolean> {
  const [lock] = await transaction.$queryRaw<{ isOurs: boolean }[]>`
    SELECT pg_try_advisory_xact_lock(${SEALING_LOCK}) AS "isOurs"`
  return lock?.isOurs === true
}

// As one value of JSON: to look at twenty columns of each of a thousand rows takes longer than to seal them.
async function oldest(transaction: Transaction, limit: number): Promise<QueuedRow[]> {
  const [found] = await transaction.$queryRaw<{ rows: QueuedJson[] | null }[]>`
    SELECT json_agg(queued) AS rows FROM (
      SELECT ${eventColumns('k')}, s.sequence IS NOT NULL AS "isSealed"
      FROM (
        SELECT * FROM "UnsealedAuditEvent" ORDER BY "occurredAt", id, "accountId" LIMIT ${limit}
      ) AS k
      LEFT JOIN "AuditEvent" AS e ON ${isEventOfKey}
      LEFT JOIN "AuditSeal" AS s
        ON (s."accountId", s."occurredAt", s."eventId") = (k."accountId", k."occurredAt", k.id)
      ORDER BY k."occurredAt", k.id, k."accountId"
    ) AS queued`
  return (found?.rows ?? []).map(asQueuedRow)
}

/** PostgreSQL writes bytes into JSON in hexadecimal, after the two characters `\\x`. */
function asQueuedRow({ mac, ...row }: QueuedJson): QueuedRow {
  return { ...row, mac: mac && Buffer.from(mac.slice(2), 'hex') } as QueuedRow
}

function judge(key: Uint8Array, row: QueuedRow): { sound: EventRow } | RefusedEvent {
  const { accountId, instant, occurredAt, id } = row
  const event = { accountId, instant, occurredAt, id }
  if (row.mac === null) return { event, why: 'gone' }
  if (row.isSealed) return { event, why: 'sealed before' }
  if (!isGenuine(key, asStoredEvent(row))) return { event, why: 'not written by the service' }
  return { sound: row }
}

async function headOf(transaction: Transaction): Promise<ChainHead | null> {
  return transaction.auditSeal.findFirst({
    select: { sequence: true, hash: true },
    orderBy: { sequence: 'desc' }
  })
}

async function insert(
  transaction: Transaction,
  events: EventKey[],
  links: ChainHead[]
): Promise<void> {
  const seals = links.map(({ sequence, hash }, index) => {
    const { accountId, instant, id } = events[index] ?? {}
    const hex = Buffer.from(hash).toString('hex')
    return { sequence: String(sequence), accountId, instant, id, hash: hex }
  })
  await transaction.$executeRaw`
    INSERT INTO "AuditSeal" (sequence, "accountId", "occurredAt", "eventId", hash)
    SELECT sequence, "accountId", instant, id, decode(hash, 'hex')
    FROM json_to_recordset(${JSON.stringify(seals)}::json)
      AS seal (sequence bigint, "accountId" uuid, instant timestamptz, id uuid, hash text)`
}

async function takeOut(transaction: Transaction, events: EventKey[]): Promise<void> {
  const keys = events.map(({ accountId, instant, id }) => ({ accountId, instant, id }))
  await transaction.$executeRaw`
    DELETE FROM "UnsealedAuditEvent" AS queued
    USING json_to_recordset(${JSON.stringify(keys)}::json)
      AS taken ("accountId" uuid, instant timestamptz, id uuid)
    WHERE (queued."accountId", queued."occurredAt", queued.id)
      = (taken."accountId", taken.instant, taken.id)`
}
