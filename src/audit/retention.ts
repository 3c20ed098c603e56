// Removes audit events that are older than the operator keeps them.
import { BREACHES } from '../core/audit/chain.ts'
import { retainedFrom } from '../core/audit/checkpoints.ts'
import type { AuditRetention } from '../data/trail/retention.ts'

export interface RetentionOptions {
  stored: AuditRetention
  key: Uint8Array
  /** Null: all events are kept. */
  months: number | null
  log: { error(details: object, message: string): void }
  now: () => Date
}

/** About 20 ms of work, because the process also serves requests. */
const BATCH_MAX = 500

export type Retention = ReturnType<typeof createRetention>

export function createRetention({ stored, key, months, log, now }: RetentionOptions) {
  return {
    /** Removes some of the events before the oldest month that is kept. Returns whether more may have to be removed. */
    async removeExpired(): Promise<boolean> {
      if (months === null) return false
      const at = now()
      const before = retainedFrom(at, months)
      const batch = { key, before, limit: BATCH_MAX, now: at }
      const { removed, breach } = await stored.removeOldest(batch)
      if (breach) {
        const { what, sequence, ...event } = breach
        const fields = { ...event, sequence: String(sequence), why: BREACHES[what] }
        log.error(fields, 'audit events not removed')
      }
      return removed === BATCH_MAX
    }
  }
}
