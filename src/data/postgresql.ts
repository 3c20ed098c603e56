import { PrismaPg } from '@prisma/adapter-pg'
import pg from 'pg'
import type { DataLog, Engine, MigrationConnection } from './engine.ts'
import { withMigrationLock } from './migration-lock.ts'
import { createStatementNames } from './statement-names.ts'
import type { Statement } from './statements.ts'

// Ten connections feed one Node process; PostgreSQL's default of 100 then serves several replicas.
const POOL_MAX = 10
const CONNECT_TIMEOUT_MS = 3000
// The server's own limit comes first, so that it cancels the work; the client's is for a silent one.
const STATEMENT_TIMEOUT_MS = 5000
const QUERY_TIMEOUT_MS = 6000
// A replica that freezes in a transaction must not hold its row locks for the others' lifetime.
const IDLE_IN_TRANSACTION_TIMEOUT_MS = 10_000
const IDLE_TIMEOUT_MS = 60_000
// Old connections are replaced, so that load returns to a server that was away.
const CONNECTION_LIFETIME_SECONDS = 1800
const KEEP_ALIVE_DELAY_MS = 10_000
// A schema change that queues behind a long reader makes every later query queue behind itself:
// better a deployment that fails than a service that stands still.
const SCHEMA_LOCK_TIMEOUT_MS = 10_000

export type PostgresqlOptions = { url: string; log?: DataLog; poolMax?: number }

/**
 * A pool on a PostgreSQL server, connected by the first query. Time limits given in the URL beat
 * the ones set here. The death of a connection is logged; it fails at most the query it carried.
 */
export function openPostgresql({ url, log, poolMax = POOL_MAX }: PostgresqlOptions): Engine {
  const onError = (err: Error) => log?.warn({ err }, 'a database connection was lost')
  const pool = new pg.Pool({
    ...connectionTo(url),
    max: poolMax,
    statement_timeout: STATEMENT_TIMEOUT_MS,
    query_timeout: QUERY_TIMEOUT_MS,
    idle_in_transaction_session_timeout: IDLE_IN_TRANSACTION_TIMEOUT_MS,
    idleTimeoutMillis: IDLE_TIMEOUT_MS,
    maxLifetimeSeconds: CONNECTION_LIFETIME_SECONDS
  })
  pool.on('error', onError)
  const adapter = new PrismaPg(pool, {
    statementNameGenerator: createStatementNames(),
    onConnectionError: onError
  })
  return {
    name: 'postgresql',
    adapter,
    query: async <Row, Input>({ name, text, valuesOf }: Statement<Input>, input: Input) => {
      return (await pool.query({ name, text, values: valuesOf(input) })).rows as Row[]
    },
    ping: async () => {
      await pool.query('SELECT 1')
    },
    poolUse: () => ({
      busy: pool.totalCount - pool.idleCount,
      idle: pool.idleCount,
      waiting: pool.waitingCount,
      max: poolMax
    }),
    withMigrationConnection: (work) => withMigrationPool(url, work),
    exclusively: (work) => withMigrationLock(connectionTo(url), work),
    close: () => pool.end()
  }
}

function connectionTo(url: string): pg.PoolConfig {
  return {
    connectionString: url,
    connectionTimeoutMillis: CONNECT_TIMEOUT_MS,
    keepAlive: true,
    keepAliveInitialDelayMillis: KEEP_ALIVE_DELAY_MS,
    fallback_application_name: 'twostep',
    // Prisma's adapter writes instants without an offset and reads them as UTC, whatever the time
    // zone of the session: in any other zone every instant that SQL itself compares would be off.
    onConnect: async (client) => {
      await client.query("SET TIME ZONE 'UTC'")
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
