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

// `src` and `dist` both lie one level below the package, so the way up is the same from each.
const migrationsFolder = fileURLToPath(new URL('../../../../prisma/migrations', import.meta.url))

export type MigrateOptions = {
  /** Where the migrations are; the package's own unless a test says otherwise. */
  folder?: string
  /** A migration that failed before, to be tried again. */
  retry?: string
}

/** The migrations of a folder in the order in which they apply. An absent folder holds none. */
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
 * Brings the schema up to date and returns the names of the migrations it applied, oldest first.
 * Each is applied whole or not at all, and once, however many processes start together. Throws
 * when a migration fails, has failed before, or was edited after it had been applied; the message
 * says which and what to do.
 */
export async function applyMigrations(
  engine: Engine,
  { folder = migrationsFolder, retry }: MigrateOptions = {}
): Promise<string[]> {
  const migrations = await readMigrations(folder)
  // An installation that lost the folder must not take an empty database for a finished one.
  if (!migrations.length) throw new Error(`there are no migrations in ${folder}`)
  // A replica that finds nothing to do must not wait for one that is at work, nor hold the schema engine in its memory.
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

/** Whether the table that the schema engine keeps says so. Whatever is odd there is for the engine to explain. */
async function isUpToDate(engine: Engine, migrations: Migration[]): Promise<boolean> {
  const recorded = await readRecorded(engine).catch(() => null)
  if (!recorded || recorded.some(({ isFinished }) => !isFinished)) return false
  // A database ahead of this release is fine: that is how a release is rolled back.
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

/** As the schema engine computes it. */
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
    `migration ${name} failed, and nothing of it was kept: ${messageOf(cause)}. ` +
      retryAdvice(name),
    { cause }
  )
}

function failedBefore(name: string): Error {
  return new Error(
    `migration ${name} failed or was cut short earlier, so nothing more is applied to this ` +
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
