// Argon2id with a bounded queue. Hashing runs on libuv's four threads, which all other asynchronous crypto,
// DNS and files share: unbounded, a burst of sign-ins stalls everything behind it.
import { availableParallelism } from 'node:os'
import { hash, verify } from '@node-rs/argon2'
import pLimit from 'p-limit'
import { normalizePassword } from '../core/passwords.ts'
import { unavailable } from '../wire/problem.ts'

/** OWASP Password Storage Cheat Sheet: argon2id (the library's 2) with m = 19 MiB, t = 2, p = 1. */
const ARGON2ID = {
  algorithm: 2,
  memoryCost: 19_456,
  timeCost: 2,
  parallelism: 1
} as const

/**
 * One for each core, and one of libuv's four threads stays free. More would be slower for the same passwords, by a third
 * on one core: each goes through 19 MiB again and again, and the core's cache holds them for one.
 */
export const HASHES_AT_ONCE = Math.min(3, availableParallelism())
/** At about 25 ms a hash, the last in the queue waits half a second on one core, and less on more. */
const WAITING_MAX = 20

export interface HashingQueue {
  running: number
  waiting: number
  /** Turned away since the start, for want of a place. */
  shed: number
}

export interface PasswordHashing {
  /** How busy it is just now. */
  queue(): HashingQueue
  /** The hash to store, in PHC format. Throws `unavailable` when the queue is full. */
  hash(password: string): Promise<string>
  /**
   * Whether the password has this hash. Without one (nobody there, or no password set) a decoy is hashed, and
   * the answer is false after the same time. Throws `unavailable` when the queue is full, whoever asks.
   */
  isPassword(password: string, phc: string | null): Promise<boolean>
}

export async function createPasswordHashing(): Promise<PasswordHashing> {
  const limit = pLimit(HASHES_AT_ONCE)
  let shed = 0
  const decoy = await hash('the password of nobody', ARGON2ID)

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
      return enqueue(() => hash(normalizePassword(password), ARGON2ID))
    },

    async isPassword(password, phc) {
      const isRight = await enqueue(() => verify(phc ?? decoy, normalizePassword(password)))
      return isRight && phc !== null
    }
  }
}
