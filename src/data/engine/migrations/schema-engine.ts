import { readFile } from 'node:fs/promises'
import {
  bindMigrationAwareSqlAdapterFactory,
  DriverAdapterError,
  type SqlDriverAdapter,
  type SqlMigrationAwareDriverAdapterFactory
} from '@prisma/driver-adapter-utils'
import type { MigrationList, SchemaEngine } from '@prisma/schema-engine-wasm/schema_engine_bg'
import type { MigrationConnection } from '../engine.ts'

// TypeScript declares this name only in the library of browser types.
declare const WebAssembly: {
  instantiate(
    bytes: Uint8Array,
    imports: Record<string, object>
  ): Promise<{ instance: { exports: { __wbindgen_start(): void } } }>
}

type Wasm = typeof import('@prisma/schema-engine-wasm/schema_engine_bg')

export type Migration = { name: string; sql: string }

/** The filter for the schema engine: every table and enum of the database belongs to this schema. */
export const everything = { externalTables: [], externalEnums: [] }

/** Returns migrations in the form that the schema engine reads. */
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

/** Runs the work with Prisma's schema engine on this connection. Throws an error whose message is one line. */
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
    // For an error that it does not recognise, the engine returns only the number under which the adapter registered
    // it.
    const [, id] = /^External error id#(\d+)/.exec(messageOf(error)) ?? []
    const { error: cause } = (id && adapter.errorRegistry.consumeError(Number(id))) || { error }
    throw new Error(messageOf(cause), { cause })
  } finally {
    engine?.free()
  }
}

/** Returns the message of an error in one line, without the trace of its own functions that the engine appends. */
export function messageOf(error: unknown): string {
  const message = error instanceof Error ? error.message : String(error)
  const [head = ''] = message.split(/^\s+0: /m)
  return head
    .replace(/^external connector error\s+/, '')
    .replace(/^Error querying the database: (ERROR: )?/, '')
    .replaceAll(/\s+/g, ' ')
    .trim()
}

// Instantiated once per process. A second instance would replace the memory of the first instance's engines.
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

// The adapters' own executeScript would record failures as successes. The one for PostgreSQL splits the script at every
// semicolon and runs the pieces one by one, so half of a script may stay applied. The one for PGlite does not wait for
// the result.
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

// The engine reads errors only in this shape. It reports all others as unknown failures.
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
