// Whether prepared statements survive on the way to the server. A connection pooler that gives each transaction another
// connection of the server loses them, unless it prepares them again itself.
import type pg from 'pg'
import { isStatementLost } from '../availability.ts'

/** No other client uses this name. */
const PREPARED = { name: 'twostep_pooler_check', text: 'SELECT pg_backend_pid() AS pid' }

/**
 * Returns the check of a connection pooler. `run` throws if a prepared statement is lost between two transactions. It checks
 * again only after a statement of the service was lost.
 */
export function createStatementCheck(connect: () => Promise<pg.Client>) {
  let isDone = false
  return {
    /** Remembers an error that means a lost statement. */
    note(error: unknown): void {
      if (isStatementLost(error)) isDone = false
    },

    async run(): Promise<void> {
      if (isDone) return
      await requirePreparedStatements(connect)
      isDone = true
    }
  }
}

/**
 * PgBouncer gives a transaction the connection that it used last. So the transaction of a second client takes the server's
 * connection of the first one, which then gets another one, where nothing is prepared.
 */
async function requirePreparedStatements(connect: () => Promise<pg.Client>): Promise<void> {
  const clients: pg.Client[] = []
  try {
    const first = await connect()
    clients.push(first)
    const second = await connect()
    clients.push(second)
    await first.query(PREPARED)
    await second.query('BEGIN')
    await second.query('SELECT 1')
    await first.query(PREPARED)
    await second.query('ROLLBACK')
  } catch (error) {
    if (isStatementLost(error)) throw unusable('does not keep prepared statements')
    if (isWithoutTransactions(error)) throw unusable('allows no transactions')
    throw error
  } finally {
    for (const client of clients) void client.end()
  }
}

/** PgBouncer reports this without an SQLSTATE of its own. */
function isWithoutTransactions(error: unknown): boolean {
  return error instanceof Error && /statement pooling mode/.test(error.message)
}

/** Without a cause, because the cause counts as an unavailable database, and a start would wait for it. */
function unusable(what: string): Error {
  return new Error(
    `the connection pooler in front of the database ${what}; set pool_mode = session, or pool_mode = transaction with ` +
      'max_prepared_statements above 0 (PgBouncer 1.21 or later)'
  )
}
