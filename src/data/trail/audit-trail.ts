// Verifies the whole audit trail in one database snapshot. A running service does not disturb the verification, and the
// verification does not disturb the service.
import {
  type Breach,
  type ChainHead,
  type ChainLink,
  isAnother,
  judgeEnd,
  judgeLinks,
  judgeUnchained
} from '../../core/audit/chain.ts'
import { type Checkpoint, isGenuineCheckpoint } from '../../core/audit/checkpoints.ts'
import { Prisma, type PrismaClient } from '../../generated/prisma/client.ts'
import type { Transaction } from './act-records.ts'
import {
  asStoredEvent,
  type EventRow,
  eventColumns,
  isEventOfKey,
  type JoinedEventRow,
  readCheckpoint,
  readLinks
} from './audit-rows.ts'

export interface VerifyOptions {
  key: Uint8Array
  /** A head that was noted earlier. The chain must still contain it. */
  noted: ChainHead | null
  /** How many rows are in memory at the same time, whatever the length of the audit trail. */
  pageSize?: number
}

export type TrailVerdict =
  | {
      isWhole: true
      verified: number
      unchained: number
      head: ChainHead | null
      /** What retention has removed; null if it has removed nothing. */
      checkpoint: Checkpoint | null
    }
  | { isWhole: false; breach: Breach }

type UnchainedRow = EventRow & { isChained: boolean; isQueued: boolean }

const PAGE_SIZE = 1000
/** PostgreSQL's smallest bigint. */
const SMALLEST_SEQUENCE = -(2n ** 63n)
/** Longer than the verification of any audit trail. The time limit on each statement still applies. */
const TIMEOUT_MS = 24 * 60 * 60 * 1000

export function createAuditTrail(prisma: PrismaClient) {
  return {
    /** Verifies every event and every link: first the chain, then the events without a link, then the queue. */
    verify({ key, noted, pageSize = PAGE_SIZE }: VerifyOptions): Promise<TrailVerdict> {
      return prisma.$transaction(
        async (transaction) => {
          // Set by a statement, because the adapter of the embedded engine ignores the isolation level of transactions.
          await transaction.$executeRaw`SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY`
          const checkpoint = await readCheckpoint(transaction)
          if (checkpoint && !isGenuineCheckpoint(key, checkpoint)) {
            return { isWhole: false, breach: brokenAt('checkpoint-altered', checkpoint) }
          }
          const pages = linkPages(transaction, pageSize)
          const chain = await verifyChain(key, { checkpoint, noted }, pages)
          if (chain.breach) return { isWhole: false, breach: chain.breach }
          const rest = await verifyUnchained(key, unchainedPages(transaction, pageSize))
          const breach = rest.breach ?? (await findMissingFromQueue(transaction))
          if (breach) return { isWhole: false, breach }
          const { head, verified } = chain
          return { isWhole: true, verified, unchained: rest.unchained, head, checkpoint }
        },
        { timeout: TIMEOUT_MS }
      )
    }
  }
}

async function verifyChain(
  key: Uint8Array,
  { checkpoint, noted }: { checkpoint: ChainHead | null; noted: ChainHead | null },
  pages: AsyncIterable<ChainLink[]>
) {
  let head = checkpoint
  let verified = 0
  if (checkpoint && isAnother(checkpoint, noted)) {
    return { head, verified, breach: brokenAt('head-missing', checkpoint) }
  }
  for await (const links of pages) {
    const judged = judgeLinks(key, links, { head, noted })
    head = judged.head
    if (judged.breach) return { head, verified, breach: judged.breach }
    verified += links.length
  }
  return { head, verified, breach: judgeEnd(head, noted) }
}

function brokenAt(what: Breach['what'], { sequence }: ChainHead): Breach {
  return { what, sequence, accountId: null, eventId: null, occurredAt: null }
}

async function verifyUnchained(key: Uint8Array, pages: AsyncIterable<UnchainedRow[]>) {
  let unchained = 0
  for await (const rows of pages) {
    for (const row of rows) {
      const breach = judgeUnchained(key, { event: asStoredEvent(row), isQueued: row.isQueued })
      if (breach) return { unchained, breach }
      unchained += 1
    }
  }
  return { unchained, breach: null }
}

/** Finds an event that was deleted before it was chained, if its queue entry was not deleted with it. */
async function findMissingFromQueue(transaction: Transaction): Promise<Breach | null> {
  const [row] = await transaction.$queryRaw<JoinedEventRow[]>`
    SELECT ${eventColumns('k')} FROM "UnsealedAuditEvent" AS k
    LEFT JOIN "AuditEvent" AS e ON ${isEventOfKey}
    WHERE e.id IS NULL ORDER BY k."accountId", k."occurredAt", k.id LIMIT 1`
  if (!row) return null
  const { accountId, id: eventId, occurredAt } = row
  return { what: 'event-missing', sequence: null, accountId, eventId, occurredAt }
}

/** Yields all links in the order of their sequence, each with its event. */
async function* linkPages(transaction: Transaction, pageSize: number): AsyncGenerator<ChainLink[]> {
  // A link below the checkpoint would be a forged one, so the first page starts at the smallest sequence.
  let after = SMALLEST_SEQUENCE
  for (;;) {
    const links = await readLinks(transaction, after, pageSize)
    const last = links.at(-1)
    if (!last) return
    yield links
    after = last.sequence
  }
}

/** Yields the events without a link, in the order of their keys. */
async function* unchainedPages(
  transaction: Transaction,
  pageSize: number
): AsyncGenerator<UnchainedRow[]> {
  let rest = Prisma.empty
  for (;;) {
    // A page covers all events. The statement returns the unchained ones and the last one, after which the next page
    // starts.
    const rows: UnchainedRow[] = await transaction.$queryRaw<UnchainedRow[]>`
      SELECT ${eventColumns('e')}, l.sequence IS NOT NULL AS "isChained", q.id IS NOT NULL AS "isQueued"
      FROM (
        SELECT *, row_number() OVER (ORDER BY "accountId" DESC, "occurredAt" DESC, id DESC) AS "fromEnd"
        FROM (
          SELECT * FROM "AuditEvent" ${rest} ORDER BY "accountId", "occurredAt", id LIMIT ${pageSize}
        ) AS page
      ) AS e
      LEFT JOIN "AuditSeal" AS l
        ON (l."accountId", l."occurredAt", l."eventId") = (e."accountId", e."occurredAt", e.id)
      LEFT JOIN "UnsealedAuditEvent" AS q
        ON (q."accountId", q."occurredAt", q.id) = (e."accountId", e."occurredAt", e.id)
      WHERE l.sequence IS NULL OR e."fromEnd" = 1
      ORDER BY e."accountId", e."occurredAt", e.id`
    const last = rows.at(-1)
    if (!last) return
    yield rows.filter(({ isChained }) => !isChained)
    rest = Prisma.sql`
      WHERE ("accountId", "occurredAt", id)
        > (${last.accountId}::uuid, ${last.instant}::timestamptz, ${last.id}::uuid)`
  }
}
