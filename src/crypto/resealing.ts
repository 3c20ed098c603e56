// What a rotation of the master key is about: every value that is sealed at rest, and how it comes under the newest key.
import {
  createSealer,
  type MasterKeys,
  type Sealer,
  type SealingPurpose,
  type ServiceKeyId,
  UnsealError
} from './sealing.ts'

/**
 * Pending enrolments come before authenticators: what is confirmed during a rotation moves from the one to the other,
 * and takes its seal along.
 */
export const SEALED_KINDS = [
  'pending enrolments',
  'authenticators',
  'signing keys',
  'service keys'
] as const
export type SealedKind = (typeof SEALED_KINDS)[number]

/** A sealed value and the ids of its row, which it is sealed to. */
export interface SealedValue {
  context: readonly string[]
  sealed: string
}

export type Resealing =
  | { outcome: 'sealed-by-newest' }
  | { outcome: 'resealed'; sealed: string }
  | { outcome: 'not-opened'; reason: string }

export interface Resealer {
  /** What a value is under the ring's first key; the secret in it and what it is sealed to stay the same. */
  reseal(kind: SealedKind, value: SealedValue): Resealing
}

/** Re-seals whatever the ring can open. */
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
    case 'pending enrolments':
    case 'authenticators':
      return 'authenticator-secret'
    case 'signing keys':
      return 'signing-key'
    case 'service keys':
      return `${id as ServiceKeyId}-key`
  }
}
