import { readFile } from 'node:fs/promises'
import {
  bindMigrationAwareSqlAdapterFactory,
  DriverAdapterError,
  type SqlDriverAdapter,
  type SqlMigrationAwareDriverAdapterFactory
} from '@prisma/driver-adapter-utils'
import type { MigrationList, SchemaEngine } from '@prisma/schema-engine-wasm/schema_engine_bg'
import type { MigrationConnection } from '../engine.ts'

// TypeScript knows this name only together with a browser's whole vocabulary.
declare const WebAssembly: {
  instantiate(
    bytes: Uint8Array,
    imports: Record<string, object>
  ): Promise<{ instance: { exports: { __wbindgen_start(): void } } }>
}

type Wasm = typeof import('@prisma/schema-engine-wasm/schema_engine_bg')

export type Migration = { name: string; sql: string }

/** Every table and enum of the database is this schema's. */
export const everything = { externalTables: [], externalEnums: [] }

/** Migrations as the schema engine wants to hear of them. */
export function migrationList(folder: string, migrations: Migration[]): MigrationList {
  return {
    baseDir: folder,
    lockfile: { path: 'migration_lock.toml', content: 'provider = "postgresql"\n' },
    shadowDbInitScript: '',
    migrationDirectories: migrations.map(({ name, sql }) => ({
      path: name,
      migrationFile: { path: 'migration.sql', content: { tag: 'ok', value: sql } }
    }))
  }
}

/** Lends Prisma's schema engine on this connection. What it throws says in one line what failed. */
export async function withSchemaEngine<T>(
  connection: MigrationConnection,
  work: (engine: SchemaEngine) => Promise<T>
): Promise<T> {
  wasm ??= instantiate()
  const { SchemaEngine } = await wasm
  const adapter = bindMigrationAwareSqlAdapterFactory(wholeScripts(connection))
  let engine: SchemaEngine | undefined
  try {
    engine = await SchemaEngine.new({ datamodels: undefined }, () => {}, adapter)
    return await work(engine)
  } catch (error) {
    // For errors it has no word for, the engine gives the number of the one it was given.
    const [, id] = /^External error id#(\d+)/.exec(messageOf(error)) ?? []
    const { error: cause } = (id && adapter.errorRegistry.consumeError(Number(id))) || { error }
    throw new Error(messageOf(cause), { cause })
  } finally {
    engine?.free()
  }
}

/** The message without the trace of its own functions that the engine appends, in one line. */
export function messageOf(error: unknown): string {
  const message = error instanceof Error ? error.message : String(error)
  const [said = ''] = message.split(/^\s+0: /m)
  return said
    .replace(/^external connector error\s+/, '')
    .replace(/^Error querying the database: (ERROR: )?/, '')
    .replaceAll(/\s+/g, ' ')
    .trim()
}

// Once a process: a second instance would pull the memory from under engines of the first.
let wasm: Promise<Wasm> | undefined

async function instantiate(): Promise<Wasm> {
  const url = import.meta.resolve('@prisma/schema-engine-wasm/schema_engine_bg')
  const bindings: Wasm = await import('@prisma/schema-engine-wasm/schema_engine_bg')
  const bytes = await readFile(new URL('schema_engine_bg.wasm', url))
  const { instance } = await WebAssembly.instantiate(bytes, {
    './schema_engine_bg.js': bindings
  })
  bindings.__wbg_set_wasm(instance.exports)
  instance.exports.__wbindgen_start()
  return bindings
}

// The adapters' own executeScript would record failures as successes: the one for PostgreSQL cuts
// the script at every semicolon and runs the pieces one by one, so half of it stays applied; the
// one for PGlite does not wait for the outcome.
function wholeScripts({
  adapter,
  runScript
}: MigrationConnection): SqlMigrationAwareDriverAdapterFactory {
  const repair = (connected: SqlDriverAdapter) =>
    Object.assign(connected, { executeScript: (sql: string) => runScript(sql).catch(rethrow) })
  return {
    provider: adapter.provider,
    adapterName: adapter.adapterName,
    connect: async () => repair(await adapter.connect()),
    connectToShadowDb: async () => repair(await adapter.connectToShadowDb())
  }
}

// The engine reads errors from this shape alone; anything else it reports as an unknown failure.
function rethrow(error: unknown): never {
  if (!(error instanceof Error)) throw error
  const { code = 'N/A', severity = 'ERROR', detail, hint, column } = error as ServerError
  throw new DriverAdapterError({
    kind: 'postgres',
    code,
    severity,
    message: error.message,
    detail,
    hint,
    column,
    originalCode: code,
    originalMessage: error.message
  })
}

type ServerError = Error & {
  code?: string
  severity?: string
  detail?: string
  hint?: string
  column?: string
}
