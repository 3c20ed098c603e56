// Chains the record, piece by piece. Every replica tries; the database gives one of them the turn.
import type { AuditLinks } from '../data/trail/links.ts'

export interface ChainingOptions {
  links: AuditLinks
  key: Uint8Array
  log: { error(details: object, message: string): void }
  /** Waits so many seconds, or until `stop` is aborted. */
  pause(seconds: number, stop?: AbortSignal): Promise<void>
  now: () => Date
}

export interface ChainDue {
  /** Events in one batch at most; by itself it takes as many as its pace asks for. */
  limit?: number
  stop?: AbortSignal
}

/** Some 5 ms of work for the process, which has requests to answer meanwhile. */
const BATCH_MAX = 100
/** So many times as long as a batch took it rests afterwards. */
const REST = 4
/** Events that have waited longer are to be caught up with: no rest, and larger batches, in which each costs less. */
const LATE_MS = 2000
const LATE_BATCH_MAX = 500

export type Chaining = ReturnType<typeof createChaining>

/**
 * The job of the background: chains the waiting events and logs those it rejects. Returns how many events it chained. What has
 * piled up may take minutes; told to stop, it leaves the rest in the queue after the batch under way.
 */
export function createChaining({ links, key, log, pause, now }: ChainingOptions) {
  return {
    async chainDue({ limit: given, stop }: ChainDue = {}): Promise<number> {
      let total = 0
      let isBehind = false
      do {
        const limit = given ?? (isBehind ? LATE_BATCH_MAX : BATCH_MAX)
        const startedAt = performance.now()
        const { chained, refused, upTo } = await links.chainNext({ key, limit })
        for (const { event, why } of refused) log.error({ ...event, why }, 'an event got no seal')
        total += chained
        // What is not full was the last there is.
        if (chained + refused.length < limit) break
        isBehind = isLate(upTo, now())
        if (!isBehind) await pause(((performance.now() - startedAt) / 1000) * REST, stop)
      } while (!stop?.aborted)
      return total
    }
  }
}

function isLate(occurredAt: string | null, now: Date): boolean {
  return occurredAt !== null && Date.parse(occurredAt) < now.getTime() - LATE_MS
}
