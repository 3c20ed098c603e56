// Chains the record, piece by piece. Every replica tries; the database gives one of them the turn.
import type { AuditSeals } from '../data/trail/links.ts'

export interface SealingOptions {
  seals: AuditSeals
  key: Uint8Array
  log: { error(details: object, message: string): void }
  /** Waits so many seconds, or until `stop` is aborted. */
  pause(seconds: number, stop?: AbortSignal): Promise<void>
  now: () => Date
}

export interface SealDue {
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

export type Sealing = ReturnType<typeof createSealing>

/**
 * The job of the background: seals whatever waits, and says what it refuses. Returns how many events it sealed. What has
 * piled up may take minutes; told to stop, it leaves the rest in the queue after the batch under way.
 */
export function createSealing({ seals, key, log, pause, now }: SealingOptions) {
  return {
    async sealDue({ limit: given, stop }: SealDue = {}): Promise<number> {
      let total = 0
      let isBehind = false
      do {
        const limit = given ?? (isBehind ? LATE_BATCH_MAX : BATCH_MAX)
        const startedAt = performance.now()
        const { sealed, refused, upTo } = await seals.sealNext({ key, limit })
        for (const { event, why } of refused) log.error({ ...event, why }, 'an event got no seal')
        total += sealed
        // What is not full was the last there is.
        if (sealed + refused.length < limit) break
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
