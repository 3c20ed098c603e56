// Writes the events of refusals. The first refusals of an actor are written immediately; repeated ones are counted in this
// replica, and a background job writes one event for them every minute.

import { type SignedAuditEvent, signEvent } from '../core/audit/events.ts'
import {
  actorAndActOf,
  eventOfFolded,
  type FoldedRefusals,
  foldTogether,
  isFoldable,
  refusalToFold
} from '../core/audit/folding.ts'
import { networksOf } from '../core/input/client-addresses.ts'
import { generateId } from '../crypto/ids.ts'
import type { AuditEvents } from '../data/trail/audit-events.ts'

export interface RefusalsOptions {
  key: Uint8Array
  auditEvents: AuditEvents
  now: () => Date
}

/** How often the background job calls `writeFolded`, and how long an actor must be quiet until its next refusal is a first one. */
export const FOLDED_SECONDS = 60
/** About 10 MB. Refusals of further actors are all written. */
const ACTORS_MAX = 10_000
/**
 * So many targets of one actor and one act get an event of their own, so that the trail names them. From another network, the
 * same target is another one: a stolen credential may be refused what its owner is refused all the time.
 */
const TARGETS_MAX = 10
/** The maximum number of events in one statement. */
const BATCH_MAX = 500

/** What this replica knows about the refusals of one actor and one act. */
interface Repeated {
  /** The targets, each with the network of the caller, that already have an event of their own. */
  targets: Set<string>
  lastAt: Date
  /** The refusals without an event; null if there are none. */
  folded: FoldedRefusals | null
}

export type Refusals = ReturnType<typeof createRefusals>

export function createRefusals({ key, auditEvents, now }: RefusalsOptions) {
  const known = new Map<string, Repeated>()

  /** Writes an event. If that fails, the next refusal is written again as the first one. */
  async function write(
    event: SignedAuditEvent,
    name: string,
    repeated: Repeated,
    target: string
  ): Promise<void> {
    repeated.targets.add(target)
    try {
      await auditEvents.record(event)
    } catch (error) {
      repeated.targets.delete(target)
      if (repeated.targets.size === 0 && repeated.folded === null) known.delete(name)
      throw error
    }
  }

  function writeBatch(batch: [Repeated, FoldedRefusals][]): Promise<void> {
    return auditEvents.recordAll(
      batch.map(([, folded]) =>
        signEvent(key, eventOfFolded(folded, { id: generateId(), occurredAt: now() }))
      )
    )
  }

  /** Takes the refusals without an event. Forgets the actors that were quiet. */
  function take(): [Repeated, FoldedRefusals][] {
    const at = now()
    const taken: [Repeated, FoldedRefusals][] = []
    for (const [name, repeated] of known) {
      if (repeated.folded) taken.push([repeated, repeated.folded])
      else if (isQuiet(repeated, at)) known.delete(name)
      repeated.folded = null
    }
    return taken
  }

  return {
    /**
     * Writes the event of a refusal, or counts it if the same actor was refused the same act less than a minute ago. The
     * first refusal on each of ten targets, or from each of ten networks, is written too. A counted refusal is lost if the
     * process is stopped by force before `writeFolded`.
     */
    async record(event: SignedAuditEvent): Promise<void> {
      if (!isFoldable(event)) return auditEvents.record(event)
      const name = actorAndActOf(event)
      const target = JSON.stringify([event.target?.id, networksOf(event.address).client])
      const repeated = known.get(name)
      if (!repeated) {
        if (known.size >= ACTORS_MAX) return auditEvents.record(event)
        const first = { targets: new Set<string>(), lastAt: event.occurredAt, folded: null }
        known.set(name, first)
        return write(event, name, first, target)
      }
      if (isQuiet(repeated, event.occurredAt)) repeated.targets.clear()
      repeated.lastAt = event.occurredAt
      const isNamed = repeated.targets.has(target) || repeated.targets.size >= TARGETS_MAX
      if (!isNamed) return write(event, name, repeated, target)
      repeated.folded = foldTogether(repeated.folded, refusalToFold(event))
    },

    /**
     * Writes one event for the refusals of each actor and act that were counted since the last call. If that fails, they
     * stay counted.
     */
    async writeFolded(): Promise<void> {
      const taken = take()
      try {
        while (taken.length > 0) {
          await writeBatch(taken.slice(0, BATCH_MAX))
          taken.splice(0, BATCH_MAX)
        }
      } finally {
        for (const [repeated, folded] of taken) {
          repeated.folded = repeated.folded ? foldTogether(folded, repeated.folded) : folded
        }
      }
    }
  }
}

function isQuiet({ lastAt }: Repeated, now: Date): boolean {
  return now.getTime() - lastAt.getTime() >= FOLDED_SECONDS * 1000
}
