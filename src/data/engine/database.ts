import { setTimeout as sleep } from 'node:timers/promises'
import type { PGlite } from '@electric-sql/pglite'
import { PrismaClient } from '../../generated/prisma/client.ts'
import type { DataLog, Engine, PoolUse } from './engine.ts'
import { applyMigrations, type MigrateOptions } from './migrations/migrations.ts'
import type { Query } from './statements.ts'

// A probe that hangs is a probe that failed: orchestrators give up after one second by default.
const PING_TIMEOUT_MS = 1000
// An interactive transaction is a handful of statements; whoever needs longer holds up the others.
const TRANSACTION_WAIT_MS = 2000
const TRANSACTION_TIMEOUT_MS = 3000

// For a connection of the pool or a new one, whichever comes first. Where connecting takes longer, or all ten are busy
// for longer, more requests that wait would not be served sooner.
const CONNECT_TIMEOUT_MS = 1000
// The server's own limit comes first, so that it cancels the work; the client's is for a silent one. Together with the
// wait for a connection they are the deadline of a request (plugins/deadline). No statement of ours takes a tenth of this.
const STATEMENT_TIMEOUT_MS = 2000
const QUERY_TIMEOUT_MS = 2500

export type Database = {
  prisma: PrismaClient
  query: Query
  engine: 'pglite' | 'postgresql'
  /** Resolves when the database answers within a second, throws otherwise. */
  ping(): Promise<void>
  /** Null where there is no pool: the embedded database has one connection. */
  poolUse(): PoolUse | null
  /** Applies what is missing and returns the names applied; see `applyMigrations`. */
  migrate(options?: MigrateOptions): Promise<string[]>
  /** Lets go of connections, files and the folder's lock. Calling it twice is harmless. */
  close(): Promise<void>
}

/** How long the service waits for the database, in milliseconds. */
export type DatabaseTimeouts = {
  /** For the response to a ping. */
  pingMs: number
  /** For the start of an interactive transaction. */
  transactionWaitMs: number
  /** For the whole of an interactive transaction. */
  transactionMs: number
  /** For a connection of the pool to a server. */
  connectMs: number
  /** For a statement, by the server's own limit. */
  statementMs: number
  /** For the response of the server to a statement. */
  queryMs: number
}

export const DATABASE_TIMEOUTS: DatabaseTimeouts = {
  pingMs: PING_TIMEOUT_MS,
  transactionWaitMs: TRANSACTION_WAIT_MS,
  transactionMs: TRANSACTION_TIMEOUT_MS,
  connectMs: CONNECT_TIMEOUT_MS,
  statementMs: STATEMENT_TIMEOUT_MS,
  queryMs: QUERY_TIMEOUT_MS
}

export type DatabaseOptions = {
  /** `pglite:<folder>`, `postgresql://…` or `postgres://…`. */
  url: string
  /** Hears of connections that died while idle. */
  log?: DataLog
  /** Connections to a PostgreSQL server; 10 by default. An embedded database has one. */
  poolMax?: number
  /** An instance already loaded, used and finally closed in place of the URL's folder. */
  pglite?: PGlite
  /** For tests: a test that is not about a timeout sets it beyond the slowest machine. */
  timeouts?: DatabaseTimeouts
}

/**
 * Opens the database that the URL names. A server is connected to with the first query, an
 * embedded database now. Throws when the scheme is unknown or the folder is in use.
 */
export async function openDatabase(options: DatabaseOptions): Promise<Database> {
  const { timeouts = DATABASE_TIMEOUTS } = options
  const engine = await openEngine({ ...options, timeouts })
  const prisma = new PrismaClient({
    adapter: engine.adapter,
    // The longer formats quote the arguments of a failed call, and arguments hold secrets.
    errorFormat: 'minimal',
    transactionOptions: { maxWait: timeouts.transactionWaitMs, timeout: timeouts.transactionMs }
  })
  let closing: Promise<void> | undefined
  const close = async () => {
    await prisma.$disconnect()
    await engine.close()
  }
  return {
    prisma,
    query: engine.query,
    engine: engine.name,
    ping: () => within(timeouts.pingMs, engine.ping()),
    poolUse: engine.poolUse,
    migrate: (migrateOptions) => applyMigrations(engine, migrateOptions),
    close: () => {
      closing ??= close()
      return closing
    }
  }
}

// Each engine is loaded on demand, so that a replica on a server never loads the embedded one.
async function openEngine({
  url,
  log,
  poolMax,
  pglite,
  timeouts
}: DatabaseOptions & { timeouts: DatabaseTimeouts }): Promise<Engine> {
  if (pglite) {
    const { embeddedEngine } = await import('./embedded.ts')
    return embeddedEngine(pglite)
  }
  if (url.startsWith('pglite:')) {
    const { openEmbedded } = await import('./embedded.ts')
    return openEmbedded(url.slice('pglite:'.length))
  }
  if (/^postgres(ql)?:\/\//.test(url)) {
    const { openPostgresql } = await import('./postgresql.ts')
    return openPostgresql({ url, timeouts, ...(log && { log }), ...(poolMax && { poolMax }) })
  }
  // The URL itself may hold a password, so the message names its scheme alone.
  throw new Error(
    `DATABASE_URL must begin with pglite:, postgresql:// or postgres://, not with ` +
      `${JSON.stringify(/^[a-z0-9+.-]*:?/i.exec(url)?.[0] ?? '')}`
  )
}

async function within(timeoutMs: number, answer: Promise<void>): Promise<void> {
  const late = new AbortController()
  const tooLate = sleep(timeoutMs, undefined, { signal: late.signal }).then(() => {
    const message = `the database has not answered within ${timeoutMs} ms`
    throw Object.assign(new Error(message), { code: 'ETIMEDOUT' })
  })
  try {
    await Promise.race([answer, tooLate])
  } finally {
    late.abort()
    // Whichever of the two came second has nobody left to hear it.
    await Promise.allSettled([tooLate])
    answer.catch(() => {})
  }
}
