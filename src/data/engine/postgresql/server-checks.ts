// Whether a server can take the writes of the service. A server that only reads, or that acknowledges no commit, is as
// unavailable as one that is down.
import { setTimeout as sleep } from 'node:timers/promises'
import type pg from 'pg'
import { isOutOfSpace, isPrivilegeMissing } from '../availability.ts'

/** As long as a statement may take. A busy standby acknowledges a commit in milliseconds. */
const STANDBY_SILENCE_SECONDS = 2
/** A commit that still waits after this pause was not on its way to an acknowledgement. */
const SECOND_LOOK_MS = 100

interface ServerState {
  isReadOnly: boolean
  /** The sessions of the same role and database whose commit waits for a synchronous standby. */
  waiting: number[]
}

/**
 * Throws if the server is a standby, or a primary that accepts no writes or acknowledges no commits. The data of a standby
 * may be out of date: a token that was revoked since would be accepted again.
 *
 * A commit that waits for a lost standby cannot be given up: its session stays on the server until the standby is back. So
 * this check looks at the sessions that wait already, and adds none.
 */
export async function requireWritable(connection: pg.ClientBase | pg.Pool): Promise<void> {
  const first = await stateOf(connection)
  if (first.isReadOnly) throw noWrites('the database accepts no writes')
  if (first.waiting.length === 0) return
  await sleep(SECOND_LOOK_MS)
  const { waiting } = await stateOf(connection)
  if (waiting.some((session) => first.waiting.includes(session)))
    throw noWrites('the synchronous standby of the database is silent')
}

async function stateOf(connection: pg.ClientBase | pg.Pool): Promise<ServerState> {
  // `state_change` is when the statement began, which can be long before its commit.
  const { rows } = await connection.query<ServerState>(`
    SELECT current_setting('transaction_read_only') = 'on' AS "isReadOnly",
      ARRAY(SELECT pid FROM pg_stat_activity
        WHERE datname = current_database() AND usename = current_user AND wait_event = 'SyncRep'
          AND state_change < now() - interval '${STANDBY_SILENCE_SECONDS} seconds') AS waiting`)
  return rows[0] ?? { isReadOnly: false, waiting: [] }
}

/** Throws if the database cannot store every character. */
export async function requireUtf8(connection: pg.ClientBase): Promise<void> {
  const { rows } = await connection.query<{ server_encoding: string }>('SHOW server_encoding')
  const encoding = rows[0]?.server_encoding
  if (encoding === 'UTF8') return
  throw new Error(`the database has the encoding ${encoding}; create one with ENCODING 'UTF8'`)
}

/**
 * Returns the check of a server whose disk was full. `run` throws until the server has space for a hundred kilobytes again
 * (SQLSTATE 53100). A server that never reported a full disk is not checked.
 */
export function createSpaceCheck(pool: pg.Pool) {
  let wasFull = false
  return {
    /** Remembers an error that means a full disk. */
    note(error: unknown): void {
      wasFull ||= isOutOfSpace(error)
    },

    async run(): Promise<void> {
      if (!wasFull) return
      // The space of a deleted row is used again, so only a new table shows whether the disk has room.
      try {
        await pool.query(
          'CREATE TEMP TABLE twostep_space ON COMMIT DROP AS SELECT generate_series(1, 4000)'
        )
      } catch (error) {
        // Without the right to create a temporary table, only the next write shows whether the disk has room.
        if (!isPrivilegeMissing(error)) throw error
      }
      wasFull = false
    }
  }
}

function noWrites(message: string): Error {
  return Object.assign(new Error(message), { code: '25006' })
}
