import type { SqlMigrationAwareDriverAdapterFactory } from '@prisma/driver-adapter-utils'
import type { Query } from './statements.ts'

/** The log for faults that the data layer survives. Loggers of pino and Fastify fit. */
export type DataLog = { warn(details: object, message: string): void }

/** How long the service waits for the database, in milliseconds. */
export const DATABASE_TIMEOUTS = {
  /** For a ping. A probe that hangs has failed: orchestrators give up after one second by default. */
  pingMs: 1000,
  /** For an interactive transaction to begin, and to end. It is a handful of statements, and a longer one blocks others. */
  transactionWaitMs: 2000,
  transactionMs: 3000,
  /**
   * For a connection, from the pool or a new one. If connecting takes longer, or all ten are busy for longer, waiting
   * requests would not be served sooner either.
   */
  connectMs: 1000,
  /**
   * For a statement: the server's limit, which cancels the work, and the client's, for a server that does not respond.
   * Together with the wait for a connection they are the deadline of a request (plugins/deadline). None of our
   * statements takes a tenth of this time.
   */
  statementMs: 2000,
  queryMs: 2500
}

export type DatabaseTimeouts = typeof DATABASE_TIMEOUTS

/** A connection for schema changes, without the time limits of the service. */
export type MigrationConnection = {
  adapter: SqlMigrationAwareDriverAdapterFactory
  /** Runs a script of many statements as one message, and therefore as one implicit transaction. */
  runScript(sql: string): Promise<void>
}

/** The current connections of a pool. */
export type PoolUse = {
  busy: number
  idle: number
  /** Queries that wait for a connection. */
  waiting: number
  max: number
}

/** One PostgreSQL, embedded or on a server. All differences between the two are behind this type. */
export type Engine = {
  name: 'pglite' | 'postgresql'
  /** The driver adapter for Prisma's client. */
  adapter: SqlMigrationAwareDriverAdapterFactory
  query: Query
  /** Runs a trivial statement. Throws if it fails. Takes at most as long as the engine's own time limits. */
  ping(): Promise<void>
  /** Returns null if there is no pool. */
  poolUse(): PoolUse | null
  /** Runs the work on a connection that may read and change the schema. Closes the connection afterwards. */
  withMigrationConnection<T>(work: (connection: MigrationConnection) => Promise<T>): Promise<T>
  /** Runs the work while no other process of this service runs work of its own in `exclusively`. */
  exclusively<T>(work: () => Promise<T>): Promise<T>
  close(): Promise<void>
}
