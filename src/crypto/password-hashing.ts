// Argon2id with a bounded queue. Hashing runs on libuv's four threads, which all other asynchronous crypto, DNS and files
// share. Without a bound, a burst of sign-ins would delay all of these.
import { availableParallelism } from 'node:os'
import { hash as argon2Hash, verify as argon2Verify } from '@node-rs/argon2'
import pLimit from 'p-limit'
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

interface HashingQueue {
  running: number
  waiting: number
  /** Hashes that were rejected since the start because the queue was full. */
  shed: number
}

export interface PasswordHashing {
  /** Returns the current state of the queue. */
  queue(): HashingQueue
  /** Returns the hash to store, in PHC format. Throws `unavailable` if the queue is full. */
  hash(password: string): Promise<string>
  /**
   * Returns whether the password has this hash. Null stands for an unknown user or a user without a password: the function
   * then checks against a decoy and returns false after the same time. Throws `unavailable` if the queue is full, with a
   * hash and without one.
   */
  verify(password: string, phc: string | null): Promise<boolean>
}

/** Returns the password hashing of this process, with one queue for all its callers. */
export async function createPasswordHashing(): Promise<PasswordHashing> {
  const limit = pLimit(CONCURRENT_HASHES_MAX)
  let shed = 0
  const decoy = await argon2Hash('the password of no user', ARGON2ID)

  function enqueue<Result>(work: () => Promise<Result>): Promise<Result> {
    if (limit.pendingCount >= WAITING_MAX) {
      shed += 1
      throw unavailable({ detail: 'Too many sign-ins are in progress.' })
    }
    return limit(work)
  }

  return {
    queue: () => ({ running: limit.activeCount, waiting: limit.pendingCount, shed }),

    async hash(password) {
      return enqueue(() => argon2Hash(normalizePassword(password), ARGON2ID))
    },

    async verify(password, phc) {
      const isRight = await enqueue(() => argon2Verify(phc ?? decoy, normalizePassword(password)))
      return isRight && phc !== null
    }
  }
}
