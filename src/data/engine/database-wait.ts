import { setTimeout as sleep } from 'node:timers/promises'
import { isDatabaseUnavailable } from './availability.ts'
import type { Database } from './database.ts'

const PAUSE_MS = 500

export interface DatabaseWait {
  seconds: number
  /** Hears, once, why there is anything to wait for. */
  onWait(error: unknown): void
}

/**
 * Resolves when the database can be used. Throws what stands in the way when the time is over, or at once where waiting
 * changes nothing: a wrong password, a database that does not exist.
 */
export async function untilAvailable(
  { ping }: Pick<Database, 'ping'>,
  { seconds, onWait }: DatabaseWait
): Promise<void> {
  const deadline = performance.now() + seconds * 1000
  for (let hasTold = false; ; hasTold = true) {
    const error: unknown = await ping().then(
      () => null,
      (reason) => reason
    )
    if (error === null) return
    if (!isDatabaseUnavailable(error) || performance.now() >= deadline) throw error
    if (!hasTold) onWait(error)
    await sleep(PAUSE_MS)
  }
}
