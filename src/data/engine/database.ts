import { setTimeout as sleep } from 'node:timers/promises'
import type { PGlite } from '@electric-sql/pglite'
import { PrismaClient } from '../../generated/prisma/client.ts'
import {
  DATABASE_TIMEOUTS,
  type DatabaseTimeouts,
  type DataLog,
  type Engine,
  type PoolUse
} from './engine.ts'
import { applyMigrations, type MigrateOptions } from './migrations/migrations.ts'
import { singleFlight } from './single-flight.ts'
import { type DatabaseClock, type Query, raw } from './statements.ts'

export type Database = {
  prisma: PrismaClient
  query: Query
  clock: DatabaseClock
  engine: 'pglite' | 'postgresql'
  /** Resolves if the database responds within one second. Throws otherwise. */
  ping(): Promise<void>
  /** Returns null for the embedded database, which has one connection and no pool. */
  poolUse(): PoolUse | null
  /** Applies the missing migrations and returns their names; see `applyMigrations`. */
  migrate(options?: MigrateOptions): Promise<string[]>
  /** Releases connections, files and the folder's lock. A second call is harmless. */
  close(): Promise<void>
}

export type DatabaseOptions = {
  /** `pglite:<folder>`, `postgresql://…` or `postgres://…`. */
  url: string
  /** Receives a warning for each connection that was lost while idle. */
  log?: DataLog
  /** The maximum number of connections to a PostgreSQL server; 10 by default. An embedded database has one. */
  poolMax?: number
  /** A loaded instance to use, and to close at the end, instead of the URL's folder. */
  pglite?: PGlite
  /** For tests: a test that is not about a timeout sets it beyond the slowest machine. */
  timeouts?: DatabaseTimeouts
}

/**
 * Opens the database that the URL names. An embedded database is opened immediately; a server is connected to by the
 * first query. Throws if the scheme is unknown or the folder is in use.
 */
export async function openDatabase(options: DatabaseOptions): Promise<Database> {
  const { timeouts = DATABASE_TIMEOUTS } = options
  const engine = await openEngine({ ...options, timeouts })
  const prisma = new PrismaClient({
    adapter: engine.adapter,
    // The longer formats quote the arguments of a failed call, and arguments contain secrets.
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
    // Not now(), which stands still while a transaction waits for a lock.
    clock: raw('clock_timestamp()'),
    engine: engine.name,
    // Anyone may call the probes that ping.
    ping: singleFlight(() => within(timeouts.pingMs, engine.ping())),
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
  // The URL may contain a password, so the message quotes only its scheme.
  throw new Error(
    `DATABASE_URL must begin with pglite:, postgresql:// or postgres://, not with ` +
      `${JSON.stringify(/^[a-z0-9+.-]*:?/i.exec(url)?.[0] ?? '')}`
  )
}

async function within(timeoutMs: number, response: Promise<void>): Promise<void> {
  const late = new AbortController()
  const tooLate = sleep(timeoutMs, undefined, { signal: late.signal }).then(() => {
    const message = `the database did not respond within ${timeoutMs} ms`
    throw Object.assign(new Error(message), { code: 'ETIMEDOUT' })
  })
  try {
    await Promise.race([response, tooLate])
  } finally {
    late.abort()
    // The promise that lost the race may still reject. Without a handler, Node would end the process.
    await Promise.allSettled([tooLate])
    response.catch(() => {})
  }
}
