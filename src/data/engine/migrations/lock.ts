import { setTimeout as sleep } from 'node:timers/promises'
import pg from 'pg'

// Long enough for an ordinary migration by another replica, short enough to fail a stuck deployment.
const WAIT_MS = 60_000
const POLL_MS = 200
// Arbitrary. It must only differ from the advisory locks of other users of the same database.
const LOCK_KEY = '8366121170327152'

/**
 * Runs the work while it holds the database's migration lock on a separate connection. The server releases the lock
 * when this process ends. The lock belongs to the session, so a pooler in front of the server must pool sessions, not
 * transactions. Throws if another process still holds the lock after one minute.
 */
export async function withMigrationLock<T>(
  connection: pg.ClientConfig,
  work: () => Promise<T>,
  waitMs = WAIT_MS
): Promise<T> {
  const client = new pg.Client(connection)
  // If this connection is lost, only the lock is lost: Prisma's own record of a started migration still stops a second
  // process. Without a listener, Node would end the process.
  client.on('error', () => {})
  await client.connect()
  try {
    await acquire(client, waitMs)
    return await work()
  } finally {
    await client.end()
  }
}

// Polls instead of waiting in the server. A session that waits there would keep the holder's CREATE INDEX CONCURRENTLY
// from ever finishing.
async function acquire(client: pg.Client, waitMs: number): Promise<void> {
  const deadline = performance.now() + waitMs
  for (;;) {
    const { rows } = await client.query('SELECT pg_try_advisory_lock($1) AS locked', [LOCK_KEY])
    if (rows[0]?.locked === true) return
    if (performance.now() >= deadline) {
      throw new Error(
        `another process has been migrating this database for ${Math.round(waitMs / 1000)} s; ` +
          'start again when the migration is finished'
      )
    }
    await sleep(POLL_MS)
  }
}
