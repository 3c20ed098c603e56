// When each signing key signs, and until when it is trusted. A key is published before it signs, and stays published after
// it has signed, so that every verifier of a token knows its key.
import { ACCESS_TOKEN_TTL_SECONDS } from './claims.ts'

/** How long hosts may cache the JWKS. A cache saves traffic; a rotation has to wait for it. */
export const JWKS_MAX_AGE_SECONDS = 5 * 60
/** Every replica has loaded new keys after this time, even from a slow database: it tries every two seconds. */
export const SIGNING_KEYS_KNOWN_WITHIN_SECONDS = 10
/** Allowance for hosts and caches that fetch slowly. */
const FETCH_SECONDS = 60
/** Replicas date tokens by their own clocks. A clock that is synchronised at all is less than an hour off. */
const CLOCK_SKEW_MAX_SECONDS = 60 * 60

/** The time from storing a key to signing with it. By then every replica and every cached JWKS contains it. */
export const PUBLISHED_BEFORE_SIGNING_SECONDS =
  SIGNING_KEYS_KNOWN_WITHIN_SECONDS + JWKS_MAX_AGE_SECONDS + FETCH_SECONDS
/**
 * The time from the next key's first signature to a key's retirement. By then every replica has switched, and the last
 * token of the retired key has expired.
 */
export const TRUSTED_AFTER_SIGNING_SECONDS =
  SIGNING_KEYS_KNOWN_WITHIN_SECONDS + ACCESS_TOKEN_TTL_SECONDS + CLOCK_SKEW_MAX_SECONDS

/** The input of the schedule. Instants are read from the database's clock. */
export interface ScheduledKey {
  id: string
  signsFrom: Date
}

/** `published`: signs later. `retiring`: no longer signs, but its tokens may be valid. `retired`: they have expired. */
type SigningKeyState = 'published' | 'signing' | 'retiring' | 'retired'

export type Scheduled<Key extends ScheduledKey> = Key & {
  state: SigningKeyState
  /** When the key is no longer trusted; null while it has no successor. */
  retiresAt: Date | null
}

/** Returns the state of every key at an instant, newest first. Exactly one key signs, unless the list is empty. */
export function scheduleOf<Key extends ScheduledKey>(
  keys: readonly Key[],
  at: Date
): Scheduled<Key>[] {
  const newestFirst = keys.toSorted(bySignsFrom).reverse()
  const begun = newestFirst.findIndex(({ signsFrom }) => signsFrom <= at)
  // The database's clock may have been set back. In that case the key with the earliest start signs, although its start is still to come.
  const signing = begun === -1 ? newestFirst.length - 1 : begun
  return newestFirst.map((key, index) => {
    const successor = newestFirst[index - 1]
    const retiresAt = successor ? later(successor.signsFrom, TRUSTED_AFTER_SIGNING_SECONDS) : null
    return { ...key, state: stateOf(index - signing, retiresAt, at), retiresAt }
  })
}

function stateOf(stepsBehind: number, retiresAt: Date | null, at: Date): SigningKeyState {
  if (stepsBehind < 0) return 'published'
  if (stepsBehind === 0) return 'signing'
  return retiresAt !== null && retiresAt <= at ? 'retired' : 'retiring'
}

// Keys of the same instant are ordered by id, so that every replica has the same order.
function bySignsFrom(one: ScheduledKey, other: ScheduledKey): number {
  return one.signsFrom.getTime() - other.signsFrom.getTime() || (one.id < other.id ? -1 : 1)
}

function later(at: Date, seconds: number): Date {
  return new Date(at.getTime() + seconds * 1000)
}
