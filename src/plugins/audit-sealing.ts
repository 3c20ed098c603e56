// Chains the record, piece by piece. Every replica tries; the database gives one of them the turn.
import type { AuditSeals } from '../data/audit-seals.ts'

export interface SealingOptions {
  seals: AuditSeals
  key: Uint8Array
  log: { error(details: object, message: string): void }
}

export interface SealDue {
  /** Events in one batch at most. */
  limit?: number
  stop?: AbortSignal
}

// Some 50 ms of work: a transaction that holds up nobody.
const BATCH_MAX = 1000

export type Sealing = ReturnType<typeof createSealing>

/**
 * The job of the background: seals whatever waits, and says what it refuses. Returns how many events it sealed. What has
 * piled up may take minutes; told to stop, it leaves the rest in the queue after the batch under way.
 */
export function createSealing({ seals, key, log }: SealingOptions) {
  return {
    async sealDue({ limit = BATCH_MAX, stop }: SealDue = {}): Promise<number> {
      let total = 0
      for (;;) {
        const { sealed, refused } = await seals.sealNext({ key, limit })
        for (const { event, why } of refused) log.error({ ...event, why }, 'an event got no seal')
        total += sealed
        // What is not full was the last there is.
        if (sealed + refused.length < limit || stop?.aborted) return total
      }
    }
  }
}
