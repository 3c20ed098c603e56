// The rotation of the master key: all kinds of sealed values in the database, and how the newest key seals them again.
import {
  createSealer,
  type MasterKeys,
  type Sealer,
  type SealingPurpose,
  type ServiceKeyId,
  UnsealError
} from './sealing.ts'

/**
 * Pending enrollments come before authenticators. An enrollment that is confirmed during a rotation becomes an
 * authenticator with the same sealed value, so the reverse order could miss it.
 */
export const SEALED_KINDS = [
  'pending enrollments',
  'authenticators',
  'signing keys',
  'service keys',
  'stored responses'
] as const
export type SealedKind = (typeof SEALED_KINDS)[number]

/** A sealed value and its context, which is the ids of its row. */
export interface SealedValue {
  context: readonly string[]
  sealed: string
}

type Resealing =
  | { outcome: 'sealed-by-newest' }
  | { outcome: 'resealed'; sealed: string }
  | { outcome: 'not-opened'; reason: string }

export interface Resealer {
  /** Returns the value sealed by the ring's first key, with the same secret and context, or why that is impossible. */
  reseal(kind: SealedKind, value: SealedValue): Resealing
}

/** Creates the resealer. It throws no `UnsealError`: a value that the ring cannot open has the outcome `not-opened`. */
export function createResealer(masterKeys: MasterKeys): Resealer {
  const sealers = new Map<SealingPurpose, Sealer>()

  function sealerOf(purpose: SealingPurpose): Sealer {
    const sealer = sealers.get(purpose) ?? createSealer(masterKeys, purpose)
    sealers.set(purpose, sealer)
    return sealer
  }

  return {
    reseal(kind, { context, sealed }) {
      const sealer = sealerOf(purposeOf(kind, context))
      if (!sealer.isOutdated(sealed)) return { outcome: 'sealed-by-newest' }
      try {
        const secret = sealer.unseal(sealed, context)
        return { outcome: 'resealed', sealed: sealer.seal(secret, context) }
      } catch (error) {
        if (error instanceof UnsealError) return { outcome: 'not-opened', reason: error.message }
        throw error
      }
    }
  }
}

function purposeOf(kind: SealedKind, [id]: readonly string[]): SealingPurpose {
  switch (kind) {
    case 'pending enrollments':
    case 'authenticators':
      return 'authenticator-secret'
    case 'signing keys':
      return 'signing-key'
    case 'stored responses':
      return 'stored-response'
    case 'service keys':
      return `${id as ServiceKeyId}-key`
  }
}
