import { setTimeout as sleep } from 'node:timers/promises'
import { isDatabaseUnavailable, isLoginRefused } from './availability.ts'
import type { Database } from './database.ts'

const PAUSE_MS = 500

export interface DatabaseWait {
  seconds: number
  /** Is called once, with the error that makes waiting necessary. */
  onWait(error: unknown): void
}

/**
 * Waits until the database is available. Throws the last error when the time is over. Throws immediately if waiting
 * cannot help: the password is wrong, or the database does not exist.
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
    const mayHelp = isDatabaseUnavailable(error) && !isLoginRefused(error)
    if (!mayHelp || performance.now() >= deadline) throw error
    if (!hasTold) onWait(error)
    await sleep(PAUSE_MS)
  }
}
