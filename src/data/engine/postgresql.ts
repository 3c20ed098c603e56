import { PrismaPg } from '@prisma/adapter-pg'
import { DriverAdapterError } from '@prisma/driver-adapter-utils'
import pg from 'pg'
import { isOutOfConnections, isReadOnly, isSilence } from './availability.ts'
import {
  DATABASE_TIMEOUTS,
  type DatabaseTimeouts,
  type DataLog,
  type Engine,
  type MigrationConnection
} from './engine.ts'
import { withMigrationLock } from './migrations/lock.ts'
import { createCircuitBreaker } from './postgresql/circuit-breaker.ts'
import { guardAdapter } from './postgresql/guarded-adapter.ts'
import { createStatementCheck } from './postgresql/prepared-statements.ts'
import { createSpaceCheck, requireUtf8, requireWritable } from './postgresql/server-checks.ts'
import { createStatementNames } from './postgresql/statement-names.ts'
import { requirePostgresqlUrl } from './postgresql/url.ts'
import type { Statement } from './statements.ts'

// Ten connections are enough for one Node process. PostgreSQL's default of 100 then serves several replicas.
const POOL_MAX = 10
// A replica that freezes in a transaction must not block the other replicas with its row locks.
const IDLE_IN_TRANSACTION_TIMEOUT_MS = 5000
const PROBE_TIMEOUT_MS = 1000
const IDLE_TIMEOUT_MS = 60_000
// Old connections are replaced, so that load returns to a server that was unavailable.
const CONNECTION_LIFETIME_SECONDS = 1800
const KEEP_ALIVE_DELAY_MS = 10_000
// A schema change that waits for a long reader blocks every later query. A failed deployment is better than a service
// that stands still.
const SCHEMA_LOCK_TIMEOUT_MS = 10_000

export type PostgresqlOptions = {
  url: string
  timeouts: DatabaseTimeouts
  log?: DataLog
  poolMax?: number
}

/**
 * Opens a pool of connections to a PostgreSQL server. The first query connects. Time limits in the URL take precedence
 * over the limits in this file. A lost connection is logged and fails at most the query that was running on it. If the
 * server does not respond or accepts no writes, every query fails immediately until the server is back.
 */
export function openPostgresql({
  url,
  timeouts,
  log,
  poolMax = POOL_MAX
}: PostgresqlOptions): Engine {
  requirePostgresqlUrl(url)
  const onError = (err: Error) => log?.warn({ err }, 'database connection lost')
  const pool = new pg.Pool({
    ...connectionTo(url),
    max: poolMax,
    connectionTimeoutMillis: timeouts.connectMs,
    query_timeout: timeouts.queryMs,
    idleTimeoutMillis: IDLE_TIMEOUT_MS,
    maxLifetimeSeconds: CONNECTION_LIFETIME_SECONDS,
    onConnect: sessionsOf(url, {
      statement_timeout: timeouts.statementMs,
      idle_in_transaction_session_timeout: IDLE_IN_TRANSACTION_TIMEOUT_MS
    })
  })
  pool.on('error', onError)
  const renewConnections = renewalOf(pool)
  const spaceCheck = createSpaceCheck(pool)
  const statementCheck = createStatementCheck(() => probeConnection(url))
  const breaker = createCircuitBreaker({
    trips: (error) => isSilence(error) || isReadOnly(error),
    onError: (error) => {
      spaceCheck.note(error)
      statementCheck.note(error)
    },
    probe: () => probe(url),
    onOpen: (err) => {
      log?.warn({ err }, 'database unavailable')
      void renewConnections()
    },
    onClose: () => log?.warn({}, 'database available again'),
    refusal: unavailableBecause
  })
  const adapter = new PrismaPg(pool, {
    statementNameGenerator: createStatementNames(),
    onConnectionError: onError
  })
  return {
    name: 'postgresql',
    adapter: guardAdapter(adapter, { breaker, isLost: isSilence }),
    query: async <Row, Input>({ name, text, valuesOf }: Statement<Input>, input: Input) => {
      const statement = { name, text, values: valuesOf(input) }
      return (await breaker.guard(() => pool.query(statement))).rows as Row[]
    },
    ping: () =>
      breaker.guard(async () => {
        await requireWritable(pool)
        await spaceCheck.run()
        await statementCheck.run()
      }),
    poolUse: () => ({
      busy: pool.totalCount - pool.idleCount,
      idle: pool.idleCount,
      waiting: pool.waitingCount,
      max: poolMax
    }),
    withMigrationConnection: (work) => withMigrationPool(url, work),
    exclusively: (work) => withMigrationLock(connectionTo(url), work),
    close: () => {
      breaker.end()
      return pool.end()
    }
  }
}

// Prisma turns this kind into its P1001.
function unavailableBecause(cause: unknown): Error {
  const error = new DriverAdapterError({ kind: 'DatabaseNotReachable' })
  error.message = `the database is unavailable: ${cause instanceof Error ? cause.message : cause}`
  return error
}

function connectionTo(url: string): pg.ClientConfig {
  return {
    connectionString: url,
    connectionTimeoutMillis: DATABASE_TIMEOUTS.connectMs,
    keepAlive: true,
    keepAliveInitialDelayMillis: KEEP_ALIVE_DELAY_MS,
    fallback_application_name: 'twostep'
  }
}

/** Time limits of a session in milliseconds, by PostgreSQL's names. */
type SessionLimits = Partial<
  Record<'statement_timeout' | 'idle_in_transaction_session_timeout' | 'lock_timeout', number>
>

/**
 * Returns the function that sets up each new connection of a pool. Limits in the URL take precedence. The settings are
 * statements, because a pooler in front of the server rejects unknown parameters of a connection.
 */
function sessionsOf(url: string, limits: SessionLimits): (client: pg.ClientBase) => Promise<void> {
  const inUrl = new URL(url).searchParams
  const settings = Object.entries(limits)
    .filter(([name]) => !inUrl.has(name))
    .map(([name, milliseconds]) => `SET ${name} = ${milliseconds};`)
    .join(' ')
  return (client) => beginSession(client, settings)
}

async function beginSession(client: pg.ClientBase, limits: string): Promise<void> {
  // Time zone: Prisma's adapter writes instants without an offset and reads them as UTC, in every time zone of the
  // session. In any other zone, all comparisons of instants in SQL would be wrong.
  //
  // Sequential scans: a connection keeps its plans. A plan made for an empty table would read the whole table after it
  // has grown. An index exists for everything that a request reads.
  //
  // JIT: no statement runs long enough to be worth compiling.
  //
  // Isolation: a statement that waited for a row must see the change it waited for, whatever the database's default is.
  //
  // Formats: the driver and Prisma's adapter parse dates, intervals and bytes only in these. The database or the role may
  // have others as their default.
  await client.query(
    `${limits} SET TIME ZONE 'UTC'; SET enable_seqscan = off; SET jit = off;
    SET default_transaction_isolation = 'read committed';
    SET DateStyle = 'ISO, MDY'; SET IntervalStyle = 'postgres'; SET bytea_output = 'hex';
    SET standard_conforming_strings = on`
  )
  await requireUtf8(client)
  await requireWritable(client)
}

/** Checks the server over a new connection, because the pool's connections may be broken. */
async function probe(url: string): Promise<void> {
  try {
    const client = await probeConnection(url)
    await requireWritable(client).finally(() => {
      // Not awaited, because a server that does not respond does not close the connection either.
      void client.end()
    })
  } catch (error) {
    // A server without a free connection is available, and the pool may have connections to it.
    if (!isOutOfConnections(error)) throw error
  }
}

/** Opens a connection outside the pool. */
async function probeConnection(url: string): Promise<pg.Client> {
  const client = new pg.Client({
    ...connectionTo(url),
    connectionTimeoutMillis: PROBE_TIMEOUT_MS,
    query_timeout: PROBE_TIMEOUT_MS
  })
  client.on('error', () => {})
  try {
    await client.connect()
    return client
  } catch (error) {
    void client.end()
    throw error
  }
}

/**
 * Returns the function that replaces all connections of a pool: idle ones immediately, busy ones when they are
 * released. After a failover they lead to a server that is gone, or that is now the standby.
 */
function renewalOf(pool: pg.Pool): () => Promise<void> {
  let generation = 0
  const bornIn = new WeakMap<pg.PoolClient, number>()
  pool.on('connect', (client) => bornIn.set(client, generation))
  // The pool drops a connection that is already ending when it is released. A query that is still running is cut off.
  pool.on('release', (_error, client) => {
    if (bornIn.get(client) !== generation) void client.end()
  })
  return async () => {
    generation += 1
    const idle = Array.from({ length: pool.idleCount }, () => pool.connect())
    for (const client of await Promise.allSettled(idle)) {
      if (client.status === 'fulfilled') client.value.release(true)
    }
  }
}

// A separate pool, because the service's time limits would cut off the creation of an index.
async function withMigrationPool<T>(
  url: string,
  work: (connection: MigrationConnection) => Promise<T>
): Promise<T> {
  const pool = new pg.Pool({
    ...connectionTo(url),
    onConnect: sessionsOf(url, { lock_timeout: SCHEMA_LOCK_TIMEOUT_MS }),
    max: 1
  })
  // The running query reports the loss too. Without a listener, Node would end the process.
  pool.on('error', () => {})
  try {
    return await work({
      adapter: new PrismaPg(pool),
      runScript: async (sql) => {
        await pool.query(sql)
      }
    })
  } finally {
    await pool.end()
  }
}
