import { PrismaPg } from '@prisma/adapter-pg'
import { DriverAdapterError } from '@prisma/driver-adapter-utils'
import pg from 'pg'
import { isOutOfConnections, isReadOnly, isSilence } from './availability.ts'
import { createCircuitBreaker } from './circuit-breaker.ts'
import type { DatabaseTimeouts } from './database.ts'
import type { DataLog, Engine, MigrationConnection } from './engine.ts'
import { guardAdapter } from './guarded-adapter.ts'
import { withMigrationLock } from './migrations/lock.ts'
import { createStatementNames } from './statement-names.ts'
import type { Statement } from './statements.ts'

// Ten connections feed one Node process; PostgreSQL's default of 100 then serves several replicas.
const POOL_MAX = 10
// A replica that freezes in a transaction must not hold its row locks for the others' lifetime.
const IDLE_IN_TRANSACTION_TIMEOUT_MS = 5000
const PROBE_TIMEOUT_MS = 1000
const IDLE_TIMEOUT_MS = 60_000
// Old connections are replaced, so that load returns to a server that was away.
const CONNECTION_LIFETIME_SECONDS = 1800
const KEEP_ALIVE_DELAY_MS = 10_000
// A schema change that queues behind a long reader makes every later query queue behind itself:
// better a deployment that fails than a service that stands still.
const SCHEMA_LOCK_TIMEOUT_MS = 10_000

export type PostgresqlOptions = {
  url: string
  timeouts: DatabaseTimeouts
  log?: DataLog
  poolMax?: number
}

/**
 * A pool on a PostgreSQL server, connected by the first query. Time limits given in the URL beat
 * the ones set here. The death of a connection is logged; it fails at most the query it carried.
 * Once the server keeps silent or takes no writes, every query fails at once until it is back.
 */
export function openPostgresql({
  url,
  timeouts,
  log,
  poolMax = POOL_MAX
}: PostgresqlOptions): Engine {
  const onError = (err: Error) => log?.warn({ err }, 'a database connection was lost')
  const pool = new pg.Pool({
    ...connectionTo(url),
    max: poolMax,
    connectionTimeoutMillis: timeouts.connectMs,
    statement_timeout: timeouts.statementMs,
    query_timeout: timeouts.queryMs,
    idle_in_transaction_session_timeout: IDLE_IN_TRANSACTION_TIMEOUT_MS,
    idleTimeoutMillis: IDLE_TIMEOUT_MS,
    maxLifetimeSeconds: CONNECTION_LIFETIME_SECONDS,
    onConnect: beginSession
  })
  pool.on('error', onError)
  const renewConnections = renewalOf(pool)
  const breaker = createCircuitBreaker({
    trips: (error) => isSilence(error) || isReadOnly(error),
    probe: () => probe(url),
    onOpen: (err) => {
      log?.warn({ err }, 'the database is away')
      void renewConnections()
    },
    onClose: () => log?.warn({}, 'the database is back'),
    refusal: awayBecause
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
    ping: () => breaker.guard(() => requireWritable(pool)),
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

// Prisma makes its P1001 of it.
function awayBecause(cause: unknown): Error {
  const error = new DriverAdapterError({ kind: 'DatabaseNotReachable' })
  error.message = `the database is away: ${cause instanceof Error ? cause.message : cause}`
  return error
}

function connectionTo(url: string): pg.ClientConfig {
  return {
    connectionString: url,
    connectionTimeoutMillis: PROBE_TIMEOUT_MS,
    keepAlive: true,
    keepAliveInitialDelayMillis: KEEP_ALIVE_DELAY_MS,
    fallback_application_name: 'twostep'
  }
}

/** What every connection of a pool begins with. */
async function beginSession(client: pg.ClientBase): Promise<void> {
  // Prisma's adapter writes instants without an offset and reads them as UTC, whatever the time
  // zone of the session: in any other zone every instant that SQL itself compares would be off.
  // Plans are kept for the life of a connection: one made while a table was still empty would read all of it, whatever it
  // has grown to; what a request asks for is always found by an index. And nothing runs long enough to be worth compiling.
  // And a statement that waited for a row has to see what it has waited for, whatever the database's default is.
  await client.query(
    `SET TIME ZONE 'UTC'; SET enable_seqscan = off; SET jit = off;
    SET default_transaction_isolation = 'read committed'`
  )
  await requireWritable(client)
}

/**
 * Throws on a standby, and on a primary that takes no writes. What could be read there may be long out of date: a
 * token that was revoked since would be good again.
 */
async function requireWritable(connection: pg.ClientBase | pg.Pool): Promise<void> {
  const { rows } = await connection.query('SHOW transaction_read_only')
  if (rows[0]?.transaction_read_only !== 'on') return
  throw Object.assign(new Error('the database takes no writes'), { code: '25006' })
}

/** Connects anew, past the pool: what its connections are worth is what is in doubt. */
async function probe(url: string): Promise<void> {
  const client = new pg.Client({
    ...connectionTo(url),
    query_timeout: PROBE_TIMEOUT_MS
  })
  client.on('error', () => {})
  try {
    await client.connect()
    await requireWritable(client)
  } catch (error) {
    // A server without a connection to spare is there, and the pool may hold some.
    if (!isOutOfConnections(error)) throw error
  } finally {
    // Not awaited: a server that keeps silent doesn't say goodbye either.
    void client.end()
  }
}

/**
 * Answers what replaces all connections that a pool has: idle ones at once, busy ones when they are given back. A
 * failover leaves them with a server that is gone, or that is now the standby.
 */
function renewalOf(pool: pg.Pool): () => Promise<void> {
  let generation = 0
  const bornIn = new WeakMap<pg.PoolClient, number>()
  pool.on('connect', (client) => bornIn.set(client, generation))
  // The pool drops what it is given back with its end begun; a query that is still under way is cut off.
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

// A pool of its own, because the service's time limits would cut off the building of an index.
async function withMigrationPool<T>(
  url: string,
  work: (connection: MigrationConnection) => Promise<T>
): Promise<T> {
  const pool = new pg.Pool({
    ...connectionTo(url),
    onConnect: beginSession,
    max: 1,
    lock_timeout: SCHEMA_LOCK_TIMEOUT_MS
  })
  // The query under way reports the loss as well; without a listener Node would end the process.
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
