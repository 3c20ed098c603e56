// Removes old events from the start of the hash chain, and leaves a checkpoint. Each batch is one transaction, so the audit
// trail can be verified at every moment, also after a crash.
import { type Breach, type ChainHead, type ChainLink, judgeLinks } from '../../core/audit/chain.ts'
import {
  isGenuineCheckpoint,
  type SignedCheckpoint,
  signCheckpoint
} from '../../core/audit/checkpoints.ts'
import type { PrismaClient } from '../../generated/prisma/client.ts'
import type { Transaction } from './act-records.ts'
import { readCheckpoint, readLinks } from './audit-rows.ts'

export interface RemoveOptions {
  key: Uint8Array
  /** Only events before this instant are removed. */
  before: Date
  /** The maximum number of events. */
  limit: number
  now: Date
}

/** A breach means that these events were not as the service wrote them. Then nothing is removed, so that they stay evidence. */
export type RemoveOutcome = { removed: number; breach: null } | { removed: 0; breach: Breach }

// Arbitrary. It must only differ from the other advisory locks of this service.
const RETENTION_LOCK = 7_301_004
const NONE = { removed: 0, breach: null } as const

export type AuditRetention = ReturnType<typeof createAuditRetention>

export function createAuditRetention(prisma: PrismaClient) {
  return {
    /**
     * Removes the oldest events of the chain with their links. Verifies them first. Never removes an event that is not
     * chained, or the newest link, which the next link follows. Removes none while another replica does.
     */
    removeOldest({ key, before, limit, now }: RemoveOptions): Promise<RemoveOutcome> {
      return prisma.$transaction(
        async (transaction) => {
          if (!(await takeTurn(transaction))) return NONE
          const earlier = await readCheckpoint(transaction)
          if (earlier && !isGenuineCheckpoint(key, earlier)) return broken(earlier)
          const expired = await readExpired(transaction, earlier, { before, limit })
          const { head, breach } = judgeLinks(key, expired, { head: earlier, noted: null })
          if (breach) return { removed: 0, breach }
          if (!head || expired.length === 0) return NONE
          const removed = (earlier?.removed ?? 0n) + BigInt(expired.length)
          const { sequence, hash } = head
          const members = { sequence, hash, removed, occurredBefore: before, removedAt: now }
          await moveCheckpoint(transaction, signCheckpoint(key, members))
          return { removed: await removeUpTo(transaction, sequence), breach: null }
        },
        { isolationLevel: 'ReadCommitted' }
      )
    }
  }
}

/** Locks retention until the transaction ends. Returns false if another replica holds the lock. */
async function takeTurn(transaction: Transaction): Promise<boolean> {
  const [lock] = await transaction.$queryRaw<{ isOurs: boolean }[]>`
    SELECT pg_try_advisory_xact_lock(${RETENTION_LOCK}) AS "isOurs"`
  return lock?.isOurs === true
}

/** Returns the links up to the first one whose event is kept. The last link of the chain is always kept. */
async function readExpired(
  transaction: Transaction,
  earlier: ChainHead | null,
  { before, limit }: Pick<RemoveOptions, 'before' | 'limit'>
): Promise<ChainLink[]> {
  const links = await readLinks(transaction, earlier?.sequence ?? 0n, limit + 1)
  const candidates = links.slice(0, -1)
  const kept = candidates.findIndex(({ occurredAt }) => !isBefore(occurredAt, before))
  return kept === -1 ? candidates : candidates.slice(0, kept)
}

function isBefore(occurredAt: string | null, instant: Date): boolean {
  return occurredAt !== null && Date.parse(occurredAt) < instant.getTime()
}

function broken({ sequence }: SignedCheckpoint): RemoveOutcome {
  const nothingKnown = { accountId: null, eventId: null, occurredAt: null }
  return { removed: 0, breach: { what: 'checkpoint-altered', sequence, ...nothingKnown } }
}

async function moveCheckpoint(
  transaction: Transaction,
  { hash, ...checkpoint }: SignedCheckpoint
): Promise<void> {
  const data = { ...checkpoint, hash: new Uint8Array(hash) }
  await transaction.auditCheckpoint.upsert({
    where: { id: 1 },
    create: { id: 1, ...data },
    update: data
  })
}

/** Deletes the events first: the trigger permits it only while their links show that the checkpoint covers them. */
async function removeUpTo(transaction: Transaction, sequence: bigint): Promise<number> {
  await transaction.$executeRaw`
    DELETE FROM "AuditEvent" e USING "AuditSeal" l
    WHERE (e."accountId", e."occurredAt", e.id) = (l."accountId", l."occurredAt", l."eventId")
      AND l.sequence <= ${sequence}`
  return transaction.$executeRaw`DELETE FROM "AuditSeal" WHERE sequence <= ${sequence}`
}
