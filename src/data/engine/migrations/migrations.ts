import { createHash } from 'node:crypto'
import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type {
  ApplyMigrationsInput,
  SchemaEngine
} from '@prisma/schema-engine-wasm/schema_engine_bg'
import type { Engine } from '../engine.ts'
import { prepare, raw } from '../statements.ts'
import {
  everything,
  type Migration,
  messageOf,
  migrationList,
  withSchemaEngine
} from './schema-engine.ts'

// `src` and `dist` are both one level below the package root, so this relative path is the same from both.
const migrationsFolder = fileURLToPath(new URL('../../../../prisma/migrations', import.meta.url))

export type MigrateOptions = {
  /** The folder of the migrations. Only tests name another folder than the package's own. */
  folder?: string
  /** The name of a migration that failed earlier and is to be applied again. */
  retry?: string
}

/** Returns the migrations of a folder in the order in which they apply; none if the folder is missing. */
export async function readMigrations(folder = migrationsFolder): Promise<Migration[]> {
  const entries = await readdir(folder, { withFileTypes: true }).catch(noneWhenAbsent)
  const names = entries.filter((entry) => entry.isDirectory()).map((entry) => entry.name)
  return Promise.all(
    names.sort().map(async (name) => ({
      name,
      sql: await readFile(join(folder, name, 'migration.sql'), 'utf8')
    }))
  )
}

/**
 * Applies the missing migrations and returns their names, oldest first. Each migration is applied completely or not at
 * all, and only once, even if many processes start at the same time. Throws if a migration fails, failed earlier, or
 * was edited after it had been applied. The message names the migration and the next step.
 */
export async function applyMigrations(
  engine: Engine,
  { folder = migrationsFolder, retry }: MigrateOptions = {}
): Promise<string[]> {
  const migrations = await readMigrations(folder)
  // If an installation has lost the folder, it must not regard an empty database as up to date.
  if (!migrations.length) throw new Error(`there are no migrations in ${folder}`)
  // A replica with nothing to apply must not wait for a replica that migrates, nor load the schema engine into memory.
  if (!retry && (await isUpToDate(engine, migrations))) return []
  const input = { migrationsList: migrationList(folder, migrations), filters: everything }
  return engine.withMigrationConnection((connection) =>
    withSchemaEngine(connection, (schemaEngine) =>
      engine.exclusively(async () => {
        if (retry) await schemaEngine.markMigrationRolledBack({ migrationName: retry })
        const { failedMigrationNames, editedMigrationNames } = await diagnose(schemaEngine, input)
        if (failedMigrationNames[0]) throw failedBefore(failedMigrationNames[0])
        if (editedMigrationNames[0]) throw edited(editedMigrationNames[0])
        return apply(schemaEngine, input)
      })
    )
  )
}

const isThere = prepare<void>(
  raw(`SELECT to_regclass('"_prisma_migrations"') IS NOT NULL AS "isThere"`)
)

const listRecorded = prepare<void>(
  raw(`SELECT migration_name AS name, checksum, finished_at IS NOT NULL AS "isFinished"
    FROM "_prisma_migrations" WHERE rolled_back_at IS NULL`)
)

/**
 * Returns whether the schema engine's own table lists every migration as applied. Leaves anything odd for the engine to
 * explain.
 */
async function isUpToDate(engine: Engine, migrations: Migration[]): Promise<boolean> {
  const recorded = await readRecorded(engine).catch(() => null)
  if (!recorded || recorded.some(({ isFinished }) => !isFinished)) return false
  // A database may be ahead of this release. Otherwise no release could be rolled back.
  const checksums = new Map(recorded.map(({ name, checksum }) => [name, checksum]))
  return migrations.every(({ name, sql }) => checksums.get(name) === checksumOf(sql))
}

async function readRecorded({ query }: Engine): Promise<RecordedMigration[] | null> {
  const [table] = await query<{ isThere: boolean }, void>(isThere, undefined)
  return table?.isThere ? query<RecordedMigration, void>(listRecorded, undefined) : null
}

interface RecordedMigration {
  name: string
  checksum: string
  isFinished: boolean
}

/** Computes the checksum in the way of the schema engine. */
function checksumOf(sql: string): string {
  return createHash('sha256').update(sql).digest('hex')
}

function diagnose(schemaEngine: SchemaEngine, input: ApplyMigrationsInput) {
  return schemaEngine.diagnoseMigrationHistory({ ...input, optInToShadowDatabase: false })
}

async function apply(schemaEngine: SchemaEngine, input: ApplyMigrationsInput) {
  try {
    const { appliedMigrationNames } = await schemaEngine.applyMigrations(input)
    return appliedMigrationNames
  } catch (error) {
    const { failedMigrationNames } = await diagnose(schemaEngine, input)
    const name = failedMigrationNames[0]
    throw name ? failedNow(name, error) : error
  }
}

function failedNow(name: string, cause: unknown): Error {
  return new Error(
    `migration ${name} failed, and nothing of it was applied: ${messageOf(cause)}. ` +
      retryAdvice(name),
    { cause }
  )
}

function failedBefore(name: string): Error {
  return new Error(
    `migration ${name} failed or was interrupted earlier, so no migration is applied to this ` +
      `database. ${retryAdvice(name)}`
  )
}

function retryAdvice(name: string): string {
  return `Remove the cause, then run: node dist/commands/migrate.js --retry ${name}`
}

function edited(name: string): Error {
  return new Error(
    `migration ${name} was edited after it had been applied to this database. ` +
      'Restore the file, and put the change into a new migration'
  )
}

function noneWhenAbsent(error: NodeJS.ErrnoException): [] {
  if (error.code === 'ENOENT') return []
  throw error
}
