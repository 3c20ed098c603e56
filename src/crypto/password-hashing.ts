// Argon2id with a bounded queue that accounts share fairly. Hashing runs on libuv's four threads, which all other asynchronous crypto, DNS and files
// share. Without a bound, a burst of sign-ins would delay all of these.
import { availableParallelism } from 'node:os'
import { hash as argon2Hash, verify as argon2Verify } from '@node-rs/argon2'
import { createFairQueue, type FairQueueState } from '../core/fairness/fair-queue.ts'
import { normalizePassword } from '../core/passwords/passwords.ts'
import { unavailable } from '../wire/problem.ts'

/** OWASP Password Storage Cheat Sheet: argon2id (the library's 2) with m = 19 MiB, t = 2, p = 1. */
const ARGON2ID = {
  algorithm: 2,
  memoryCost: 19_456,
  timeCost: 2,
  parallelism: 1
} as const

/**
 * One hash for each core, and one of libuv's four threads stays free. More hashes at the same time would be slower, by a
 * third on one core: each hash passes over its 19 MiB repeatedly, and the core's cache holds them for only one hash.
 */
export const CONCURRENT_HASHES_MAX = Math.min(3, availableParallelism())
/** A hash takes about 25 ms. The last one in the queue waits half a second on one core, and less on more cores. */
const WAITING_MAX = 20

export interface PasswordHashing {
  /** Returns the current state of the queue. */
  queue(): FairQueueState
  /**
   * Returns the hash to store, in PHC format. The callers of different accounts take turns. Throws `unavailable` if the
   * queue is full and no account has more in it than this one.
   */
  hash(password: string, account: string): Promise<string>
  /**
   * Returns whether the password has this hash. Null stands for an unknown user or a user without a password: the function
   * then checks against a decoy and returns false after the same time. Throws `unavailable` as `hash` does, with a hash and
   * without one. `account` is the one that the caller named, whether it exists or not: otherwise a full queue would show
   * which accounts exist.
   */
  verify(password: string, phc: string | null, account: string): Promise<boolean>
}

/** Returns the password hashing of this process, with one queue for all its callers. */
export async function createPasswordHashing(): Promise<PasswordHashing> {
  const queue = createFairQueue({
    slots: CONCURRENT_HASHES_MAX,
    waitingMax: WAITING_MAX,
    refusal: () => unavailable({ detail: 'Too many sign-ins are in progress.' })
  })
  const decoy = await argon2Hash('the password of no user', ARGON2ID)

  return {
    queue: queue.state,

    hash(password, account) {
      return queue.run(account, () => argon2Hash(normalizePassword(password), ARGON2ID))
    },

    async verify(password, phc, account) {
      const isRight = await queue.run(account, () =>
        argon2Verify(phc ?? decoy, normalizePassword(password))
      )
      return isRight && phc !== null
    }
  }
}
