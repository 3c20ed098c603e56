import { SEALED_KINDS, type SealedKind } from '../../crypto/resealing.ts'
import { type MasterKeys, masterKeyIdOf } from '../../crypto/sealing.ts'
import type { SealedValues } from '../../data/keys/sealed-values.ts'

/** How many values of each kind a master key seals. */
export interface Census {
  masterKeyId: string
  /** Whether `MASTER_KEYS` holds it. */
  isHeld: boolean
  counts: Record<SealedKind, number>
  total: number
}

// A page is one short query, so that no table is too large for the limits on a statement.
const PAGE_SIZE = 5000
/** What is no sealed value counts as one of a key that nobody has. */
const UNREADABLE = '?'

/** Counts all sealed values by their master keys: those of the ring in its order, then those that it lacks. */
export async function takeCensus(values: SealedValues, ring: MasterKeys): Promise<Census[]> {
  const byId = new Map<string, Census>()
  const entryOf = (masterKeyId: string) => {
    const isHeld = ring.some(({ id }) => id === masterKeyId)
    const entry = byId.get(masterKeyId) ?? { masterKeyId, isHeld, counts: nothing(), total: 0 }
    byId.set(masterKeyId, entry)
    return entry
  }
  for (const { id } of ring) entryOf(id)
  for (const kind of SEALED_KINDS) {
    for await (const page of values.pages(kind, PAGE_SIZE)) {
      for (const { sealed } of page) {
        const entry = entryOf(masterKeyIdOf(sealed) ?? UNREADABLE)
        entry.counts[kind] += 1
        entry.total += 1
      }
    }
  }
  return [...byId.values()]
}

function nothing(): Census['counts'] {
  return { 'pending enrollments': 0, authenticators: 0, 'signing keys': 0, 'service keys': 0 }
}
