import type { SqlMigrationAwareDriverAdapterFactory } from '@prisma/driver-adapter-utils'
import type { Query } from './statements.ts'

/** The log for faults that the data layer survives. Loggers of pino and Fastify fit. */
export type DataLog = { warn(details: object, message: string): void }

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
