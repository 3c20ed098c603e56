import type { SqlMigrationAwareDriverAdapterFactory } from '@prisma/driver-adapter-utils'
import type { Query } from './statements.ts'

/** Where the data layer reports what it survived; pino and Fastify loggers fit. */
export type DataLog = { warn(details: object, message: string): void }

/** What schema changes run on: a connection that may take as long as it needs. */
export type MigrationConnection = {
  adapter: SqlMigrationAwareDriverAdapterFactory
  /** Runs a script of many statements as one message, thus as one implicit transaction. */
  runScript(sql: string): Promise<void>
}

/** The connections of a pool, just now. */
export type PoolUse = {
  busy: number
  idle: number
  /** Queries that wait for a connection. */
  waiting: number
  max: number
}

/** One PostgreSQL, wherever it runs: all that differs between the two lives behind this. */
export type Engine = {
  name: 'pglite' | 'postgresql'
  /** What Prisma's client runs on. */
  adapter: SqlMigrationAwareDriverAdapterFactory
  query: Query
  /** Answers `SELECT 1`, or throws. May take as long as the engine's own time limits. */
  ping(): Promise<void>
  /** Null where there is no pool. */
  poolUse(): PoolUse | null
  /** Lends a connection for reading and changing the schema; closed when the work ends. */
  withMigrationConnection<T>(work: (connection: MigrationConnection) => Promise<T>): Promise<T>
  /** Runs the work while no other process of this service can be in its own `exclusively`. */
  exclusively<T>(work: () => Promise<T>): Promise<T>
  close(): Promise<void>
}
