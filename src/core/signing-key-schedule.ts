// When each signing key signs, and until when it is trusted. A key is published before it signs, and stays published after
// it has signed, so that every verifier of a token knows its key.
import { ACCESS_TOKEN_TTL_SECONDS } from './claims.ts'

/** How long hosts may keep the JWKS: it spares us traffic, and a rotation waits for it. */
export const JWKS_MAX_AGE_SECONDS = 5 * 60
/** Every replica has looked for new keys within this, slow database included; each tries every two seconds. */
export const SIGNING_KEYS_KNOWN_WITHIN_SECONDS = 10
/** For hosts and caches that take their time with a fetch. */
const FETCH_SECONDS = 60
/** Replicas date tokens by their own clocks, and no clock that keeps time with anything is an hour off. */
const CLOCK_SKEW_MAX_SECONDS = 60 * 60

/** From when a key is stored until it signs: then every replica, and every JWKS in a cache, has it. */
export const PUBLISHED_BEFORE_SIGNING_SECONDS =
  SIGNING_KEYS_KNOWN_WITHIN_SECONDS + JWKS_MAX_AGE_SECONDS + FETCH_SECONDS
/** From when the next key signs until a key retires: then the last replica has changed over, and the last token is dead. */
export const TRUSTED_AFTER_SIGNING_SECONDS =
  SIGNING_KEYS_KNOWN_WITHIN_SECONDS + ACCESS_TOKEN_TTL_SECONDS + CLOCK_SKEW_MAX_SECONDS

/** What the schedule goes by; instants are of the database's clock. */
export interface ScheduledKey {
  id: string
  signsFrom: Date
}

/** `published`: signs later. `retiring`: signs no more, and its tokens may live. `retired`: they are dead. */
export type SigningKeyState = 'published' | 'signing' | 'retiring' | 'retired'

export type Scheduled<Key extends ScheduledKey> = Key & {
  state: SigningKeyState
  /** When it is trusted no more; null while no other key is to follow. */
  retiresAt: Date | null
}

/** What every key is good for at an instant, newest first. Exactly one signs, unless there is none. */
export function scheduleOf<Key extends ScheduledKey>(
  keys: readonly Key[],
  at: Date
): Scheduled<Key>[] {
  const newestFirst = keys.toSorted(bySignsFrom).reverse()
  const begun = newestFirst.findIndex(({ signsFrom }) => signsFrom <= at)
  // The database's clock may have been set back: then the key that signs first signs already.
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

// The id decides between two of one instant, so that every replica puts them in one order.
function bySignsFrom(one: ScheduledKey, other: ScheduledKey): number {
  return one.signsFrom.getTime() - other.signsFrom.getTime() || (one.id < other.id ? -1 : 1)
}

function later(at: Date, seconds: number): Date {
  return new Date(at.getTime() + seconds * 1000)
}
