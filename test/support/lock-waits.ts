// Requests that wait for a row which a transaction of the test has locked: an event, where a pause would be a guess about the
// speed of the machine. On a PostgreSQL server only.
import { setTimeout as sleep } from 'node:timers/promises'
import type { Database } from '../../src/data/engine/database.ts'

/** Returns how many sessions of the database wait for a lock. */
export async function lockWaits({ prisma }: Database): Promise<number> {
  const [found] = await prisma.$queryRaw<{ count: number }[]>`
    SELECT count(*)::int FROM pg_stat_activity
    WHERE datname = current_database() AND wait_event_type = 'Lock'`
  return found?.count ?? 0
}

/** Resolves when so many sessions wait for a lock. Throws if a request that should wait has its response. */
export async function untilLockWaits(
  database: Database,
  count: number,
  sent: readonly Promise<unknown>[] = []
): Promise<void> {
  let isAnswered = false
  const note = () => {
    isAnswered = true
  }
  for (const request of sent) request.then(note, note)
  while ((await lockWaits(database)) < count) {
    if (isAnswered) throw new Error('a request has its response, and was to wait for a lock')
    await sleep(5)
  }
}
