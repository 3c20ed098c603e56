// Links new audit events into the hash chain, batch by batch. Every replica tries, and a database lock lets one proceed.
import type { AuditLinks } from '../data/trail/links.ts'

export interface ChainingOptions {
  links: AuditLinks
  key: Uint8Array
  log: { error(details: object, message: string): void }
  /** Waits for that many seconds, or until `stop` is aborted. */
  pause(seconds: number, stop?: AbortSignal): Promise<void>
  now: () => Date
}

export interface ChainDue {
  /** The maximum size of a batch. By default it depends on how late the chain is. */
  limit?: number
  stop?: AbortSignal
}

/** About 5 ms of work, because the process also serves requests. */
const BATCH_MAX = 100
/** The pause after a batch, as a multiple of the time that the batch took. */
const REST = 4
/** If events have waited longer, the job catches up: no pause, and larger batches, in which each event costs less. */
const LATE_MS = 2000
const LATE_BATCH_MAX = 500

export type Chaining = ReturnType<typeof createChaining>

/**
 * Returns the job that chains the waiting events. It logs the events that the chain rejects, and returns how many it chained.
 * A long queue can take minutes. After `stop` is aborted, the job finishes its batch and leaves the rest in the queue.
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
        for (const { event, why } of refused) {
          log.error({ ...event, why }, 'audit event rejected by the chain')
        }
        total += chained
        // A batch that is not full has emptied the queue.
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
