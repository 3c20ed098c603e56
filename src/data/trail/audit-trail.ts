// The whole record, walked through in one snapshot: a service that runs meanwhile neither disturbs it nor is disturbed.
import {
  type Breach,
  type ChainHead,
  judgeEnd,
  judgeSeals,
  judgeUnsealed,
  type Seal
} from '../../core/audit/chain.ts'
import { Prisma, type PrismaClient } from '../../generated/prisma/client.ts'
import type { Transaction } from './act-records.ts'
import {
  asStoredEvent,
  type EventRow,
  eventColumns,
  isEventOfKey,
  type JoinedEventRow
} from './audit-rows.ts'

export interface VerifyOptions {
  key: Uint8Array
  /** A head that was noted earlier, and must still be in the chain. */
  noted: ChainHead | null
  /** How many rows are in memory at once, however long the record is. */
  pageSize?: number
}

export type TrailVerdict =
  | { isWhole: true; verified: number; unsealed: number; head: ChainHead | null }
  | { isWhole: false; breach: Breach }

type SealRow = JoinedEventRow & { sequence: bigint; hash: Uint8Array }
type UnsealedRow = EventRow & { isSealed: boolean; isQueued: boolean }

const PAGE_SIZE = 1000
/** Longer than any record takes; the limit on each statement stays. */
const TIMEOUT_MS = 24 * 60 * 60 * 1000

export function createAuditTrail(prisma: PrismaClient) {
  return {
    /** Judges every event and every link; the chain first, then what stands beside it. */
    verify({ key, noted, pageSize = PAGE_SIZE }: VerifyOptions): Promise<TrailVerdict> {
      return prisma.$transaction(
        async (transaction) => {
          // By hand, since the adapter of the embedded engine sets the level for no transaction.
          await transaction.$executeRaw`SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY`
          const chain = await verifyChain(key, noted, sealPages(transaction, pageSize))
          if (chain.breach) return { isWhole: false, breach: chain.breach }
          const rest = await verifyUnsealed(key, unsealedPages(transaction, pageSize))
          const breach = rest.breach ?? (await findGoneFromQueue(transaction))
          if (breach) return { isWhole: false, breach }
          const { head, verified } = chain
          return { isWhole: true, verified, unsealed: rest.unsealed, head }
        },
        { timeout: TIMEOUT_MS }
      )
    }
  }
}

async function verifyChain(key: Uint8Array, noted: ChainHead | null, pages: AsyncIterable<Seal[]>) {
  let head: ChainHead | null = null
  let verified = 0
  for await (const seals of pages) {
    const judged = judgeSeals(key, seals, { head, noted })
    head = judged.head
    if (judged.breach) return { head, verified, breach: judged.breach }
    verified += seals.length
  }
  return { head, verified, breach: judgeEnd(head, noted) }
}

async function verifyUnsealed(key: Uint8Array, pages: AsyncIterable<UnsealedRow[]>) {
  let unsealed = 0
  for await (const rows of pages) {
    for (const row of rows) {
      const breach = judgeUnsealed(key, { event: asStoredEvent(row), isQueued: row.isQueued })
      if (breach) return { unsealed, breach }
      unsealed += 1
    }
  }
  return { unsealed, breach: null }
}

/** An event that was deleted before it was sealed, if whoever did it has left its place in the queue. */
async function findGoneFromQueue(transaction: Transaction): Promise<Breach | null> {
  const [row] = await transaction.$queryRaw<JoinedEventRow[]>`
    SELECT ${eventColumns('k')} FROM "UnsealedAuditEvent" AS k
    LEFT JOIN "AuditEvent" AS e ON ${isEventOfKey}
    WHERE e.id IS NULL ORDER BY k."accountId", k."occurredAt", k.id LIMIT 1`
  if (!row) return null
  const { accountId, id: eventId, occurredAt } = row
  return { what: 'event-missing', sequence: null, accountId, eventId, occurredAt }
}

/** All seals by their sequence, each with its event. */
async function* sealPages(transaction: Transaction, pageSize: number): AsyncGenerator<Seal[]> {
  let rest = Prisma.empty
  for (;;) {
    const rows: SealRow[] = await transaction.$queryRaw<SealRow[]>`
      SELECT ${eventColumns('k')}, k.sequence, k.hash
      FROM (
        SELECT sequence, "accountId", "occurredAt", "eventId" AS id, hash FROM "AuditSeal" ${rest}
        ORDER BY sequence LIMIT ${pageSize}
      ) AS k
      LEFT JOIN "AuditEvent" AS e ON ${isEventOfKey}
      ORDER BY k.sequence`
    const last = rows.at(-1)
    if (!last) return
    yield rows.map(asSeal)
    rest = Prisma.sql`WHERE sequence > ${last.sequence}`
  }
}

/** The events that no seal names, in the order of their keys. */
async function* unsealedPages(
  transaction: Transaction,
  pageSize: number
): AsyncGenerator<UnsealedRow[]> {
  let rest = Prisma.empty
  for (;;) {
    // A page is of all events; beside the unsealed ones, its last comes along to tell where the next begins.
    const rows: UnsealedRow[] = await transaction.$queryRaw<UnsealedRow[]>`
      SELECT ${eventColumns('e')}, s.sequence IS NOT NULL AS "isSealed", q.id IS NOT NULL AS "isQueued"
      FROM (
        SELECT *, row_number() OVER (ORDER BY "accountId" DESC, "occurredAt" DESC, id DESC) AS "fromEnd"
        FROM (
          SELECT * FROM "AuditEvent" ${rest} ORDER BY "accountId", "occurredAt", id LIMIT ${pageSize}
        ) AS page
      ) AS e
      LEFT JOIN "AuditSeal" AS s
        ON (s."accountId", s."occurredAt", s."eventId") = (e."accountId", e."occurredAt", e.id)
      LEFT JOIN "UnsealedAuditEvent" AS q
        ON (q."accountId", q."occurredAt", q.id) = (e."accountId", e."occurredAt", e.id)
      WHERE s.sequence IS NULL OR e."fromEnd" = 1
      ORDER BY e."accountId", e."occurredAt", e.id`
    const last = rows.at(-1)
    if (!last) return
    yield rows.filter(({ isSealed }) => !isSealed)
    rest = Prisma.sql`
      WHERE ("accountId", "occurredAt", id)
        > (${last.accountId}::uuid, ${last.instant}::timestamptz, ${last.id}::uuid)`
  }
}

function asSeal(row: SealRow): Seal {
  const { sequence, hash, accountId, occurredAt, id } = row
  const event = row.mac === null ? null : asStoredEvent(row)
  return { sequence, hash, accountId, occurredAt, eventId: id, event }
}
