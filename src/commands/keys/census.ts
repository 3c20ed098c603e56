import { SEALED_KINDS, type SealedKind } from '../../crypto/resealing.ts'
import { type MasterKeys, masterKeyIdOf } from '../../crypto/sealing.ts'
import type { SealedValues } from '../../data/keys/sealed-values.ts'

/** The number of values of each kind that a master key seals. */
export interface Census {
  masterKeyId: string
  /** Whether `MASTER_KEYS` holds it. */
  isHeld: boolean
  counts: Record<SealedKind, number>
  total: number
}

// A page is one short query, so that even a large table stays within the time limit of a statement.
const PAGE_SIZE = 5000
/** Stands for the master key of a value that is not in the sealed form. */
const UNREADABLE = '?'

/** Counts all sealed values by master key: first the keys of the ring in their order, then keys that the ring lacks. */
export async function takeCensus(values: SealedValues, ring: MasterKeys): Promise<Census[]> {
  const byId = new Map<string, Census>()
  const entryOf = (masterKeyId: string) => {
    const isHeld = ring.some(({ id }) => id === masterKeyId)
    const entry = byId.get(masterKeyId) ?? { masterKeyId, isHeld, counts: noCounts(), total: 0 }
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

function noCounts(): Census['counts'] {
  return Object.fromEntries(SEALED_KINDS.map((kind) => [kind, 0])) as Census['counts']
}
