import { createHash, randomBytes } from 'node:crypto'
import {
  access,
  cp,
  mkdir,
  mkdtemp,
  readdir,
  readFile,
  rename,
  rm,
  writeFile
} from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { PGlite } from '@electric-sql/pglite'
import pg from 'pg'
import type { Test } from 'tap'
import manifest from '../../package.json' with { type: 'json' }
import { type Database, openDatabase } from '../../src/data/engine/database.ts'
import type { DatabaseTimeouts } from '../../src/data/engine/engine.ts'
import { readMigrations } from '../../src/data/engine/migrations/migrations.ts'

/** `url` is set only on a PostgreSQL server: no second client can connect to a database in memory. */
export type TestDatabase = Database & { url?: string }

const FAR_MS = 10 * 60_000
/** No test may depend on how fast the machine is, except a test of a timeout. */
const FAR_TIMEOUTS: DatabaseTimeouts = {
  pingMs: FAR_MS,
  transactionWaitMs: FAR_MS,
  transactionMs: FAR_MS,
  connectMs: FAR_MS,
  statementMs: FAR_MS,
  queryMs: FAR_MS
}

const server = process.env['TEST_DATABASE_URL']
// Next to the installed packages: the project's own folder, ignored by git, and not cleared between runs.
const cache = fileURLToPath(new URL('../../node_modules/.cache/twostep/', import.meta.url))
const STALE_AFTER_MS = 3_600_000
/** Longer, because a checkout with other migrations may need its template again. */
const TEMPLATE_STALE_AFTER_MS = 24 * 3_600_000

/**
 * Opens a migrated, empty database for this test, and drops it with the test: in memory, or on the server
 * of TEST_DATABASE_URL, whose role must be allowed to create databases.
 */
export async function openTestDatabase(t: Test): Promise<TestDatabase> {
  return server ? openOnServer(t, server) : openInMemory(t)
}

/**
 * Creates a migrated, empty database that other processes can open: on the server of TEST_DATABASE_URL, or
 * in a folder. Returns its URL.
 */
export async function createTestDatabase(t: Test): Promise<string> {
  if (server) return createOnServer(t, server, await prepareTemplate(server))
  const folder = await mkdtemp(join(tmpdir(), 'twostep-'))
  t.teardown(() => rm(folder, { recursive: true, force: true }))
  await cp(await prepareFolder(), join(folder, 'pg'), { recursive: true })
  return `pglite:${folder}`
}

/** Returns a folder with a migrated database to copy. Creates it if it is missing, safely in concurrent processes. */
async function prepareFolder(): Promise<string> {
  const folder = join(cache, `template-${await fingerprint()}`)
  if (
    await access(folder).then(
      () => true,
      () => false
    )
  )
    return folder
  const unfinished = join(cache, randomBytes(6).toString('hex'))
  await (await PGlite.create({ dataDir: unfinished, loadDataDir: await dump() })).close()
  await rename(unfinished, folder).catch(() => rm(unfinished, { recursive: true }))
  return folder
}

/** Creates an empty database on the server without migrations, drops it with the test, and returns its URL. */
export async function createEmptyDatabase(
  t: Test,
  serverUrl: string,
  encoding: 'UTF8' | 'LATIN1' = 'UTF8'
): Promise<string> {
  return createOnServer(t, serverUrl, `template0 ENCODING '${encoding}' LOCALE 'C'`)
}

/** Returns a hash of the engine's version and all migrations, which names a template. */
async function fingerprint(): Promise<string> {
  const engine = manifest.dependencies['@electric-sql/pglite']
  const content = JSON.stringify([engine, await readMigrations()])
  return createHash('sha256').update(content).digest('hex').slice(0, 12)
}

/** Instances that no test uses. To start one takes more than a second of CPU, to empty one a few milliseconds. */
const idle: PGlite[] = []
let keepsInstances = false

/**
 * Keeps the instances of the tests that follow for the next ones. Returns a function that closes them, because an open
 * instance keeps its process alive.
 */
export function keepInstances(): () => Promise<void> {
  keepsInstances = true
  return async () => {
    await Promise.all(idle.splice(0).map((instance) => instance.close()))
  }
}

async function openInMemory(t: Test): Promise<TestDatabase> {
  const instance = idle.pop() ?? (await createInstance())
  const pglite = borrow(instance)
  const database = await openDatabase({ url: 'pglite:', pglite, timeouts: FAR_TIMEOUTS })
  t.teardown(async () => {
    await database.close()
    if (keepsInstances && (await empty(instance))) idle.push(instance)
    else await instance.close()
  })
  return database
}

async function createInstance(): Promise<PGlite> {
  const pglite = await PGlite.create({ loadDataDir: await dump() })
  // A test that changes the schema, or a setting of the database, must not leave it to the next one.
  await pglite.exec(`
    CREATE SCHEMA test_support;
    CREATE TABLE test_support.changes (command text);
    CREATE FUNCTION test_support.note() RETURNS event_trigger LANGUAGE plpgsql
      AS $$ BEGIN INSERT INTO test_support.changes VALUES (tg_tag); END $$;
    CREATE EVENT TRIGGER note_changes ON ddl_command_end EXECUTE FUNCTION test_support.note();
    CREATE EVENT TRIGGER note_drops ON sql_drop EXECUTE FUNCTION test_support.note();
  `)
  return pglite
}

/** Returns the instance for one test. After `close`, every query fails, but the instance itself stays open. */
function borrow(instance: PGlite): PGlite {
  let isClosed = false
  const close = async () => {
    isClosed = true
  }
  return new Proxy(instance, {
    get(target, key) {
      if (key === 'close') return close
      const value = Reflect.get(target, key, target)
      if (typeof value !== 'function') return value
      return (...input: unknown[]) => {
        if (isClosed) throw new Error('PGlite is closed')
        return Reflect.apply(value, target, input)
      }
    }
  })
}

/** Empties an instance for the next test. Returns false if the test has changed more than rows. */
async function empty(instance: PGlite): Promise<boolean> {
  await instance.exec('ROLLBACK')
  await instance.exec('DISCARD ALL')
  const { rows: changes } = await instance.query(`
    SELECT command FROM test_support.changes
    UNION ALL SELECT setconfig::text FROM pg_db_role_setting`)
  if (changes.length > 0) return false
  const { rows } = await instance.query<{ tables: string }>(`
    SELECT string_agg(format('%I.%I', schemaname, tablename), ', ') AS tables FROM pg_tables
    WHERE schemaname = 'public' AND tablename <> '_prisma_migrations'`)
  // Only the owner of the append-only tables can empty them, and only by turning off the triggers that forbid it.
  const forbidding = ['AuditEvent', 'AuditSeal', 'AuditCheckpoint']
  const turn = (how: string) =>
    forbidding.map((table) => `ALTER TABLE "${table}" ${how} TRIGGER "${table}_no_truncate";`)
  await instance.exec(`
    BEGIN;
    ${turn('DISABLE').join('')}
    TRUNCATE ${rows[0]?.tables} RESTART IDENTITY;
    ${turn('ENABLE ALWAYS').join('')}
    DELETE FROM test_support.changes;
    COMMIT`)
  return true
}

/** Returns a migrated database as a file. Creates it if it is missing, safely in concurrent processes. */
async function dump(): Promise<Blob> {
  const file = `template-${await fingerprint()}.tar`
  const known = await readFile(join(cache, file)).catch(() => undefined)
  if (known) return new Blob([known])
  // Every test file loads all of it, so it is as small as possible: its log begins with one megabyte instead of
  // sixteen, and it has no template databases.
  const pglite = await PGlite.create({ initDbStartParams: ['--wal-segsize=1'] })
  const database = await openDatabase({ url: 'pglite:', pglite })
  await database.migrate()
  await pglite.exec('UPDATE pg_database SET datistemplate = false')
  for (const name of ['template0', 'template1']) await pglite.exec(`DROP DATABASE ${name}`)
  const made = await pglite.dumpDataDir('none')
  await database.close()
  await mkdir(cache, { recursive: true })
  const unfinished = join(cache, randomBytes(6).toString('hex'))
  await writeFile(unfinished, made.stream())
  await rename(unfinished, join(cache, file))
  const others = (await readdir(cache)).filter((name) => /^template-/.test(name) && name !== file)
  await Promise.all(others.map((name) => rm(join(cache, name), { force: true, recursive: true })))
  return made
}

async function openOnServer(t: Test, serverUrl: string): Promise<TestDatabase> {
  const template = await prepareTemplate(serverUrl)
  const url = await createOnServer(t, serverUrl, template)
  const database = await openTestReplica(t, url)
  return { ...database, url }
}

/** Opens another pool on the database of a test, as another replica does. */
export async function openTestReplica(t: Test, url: string): Promise<Database> {
  const database = await openDatabase({ url, timeouts: FAR_TIMEOUTS })
  t.teardown(() => database.close())
  return database
}

async function createOnServer(t: Test, serverUrl: string, template: string): Promise<string> {
  // By the time in the name, a later run finds and drops the databases that a killed process has left.
  const name = `twostep_test_${Date.now().toString(36)}_${randomBytes(4).toString('hex')}`
  await onServer(serverUrl, (client) =>
    client.query(`CREATE DATABASE ${name} TEMPLATE ${template}`)
  )
  t.teardown(() =>
    onServer(serverUrl, (client) => client.query(`DROP DATABASE IF EXISTS ${name} WITH (FORCE)`))
  )
  return urlOf(serverUrl, name)
}

/** Returns the name of a migrated database to copy. The first process that finds none creates it. */
async function prepareTemplate(serverUrl: string): Promise<string> {
  const name = `twostep_template_${await fingerprint()}`
  let template: string | undefined
  await onServer(serverUrl, async (client) => {
    const find = async () => {
      const { rows } = await client.query<{ datname: string }>(
        'SELECT datname FROM pg_database WHERE starts_with(datname, $1)',
        [`${name}_`]
      )
      return rows[0]?.datname
    }
    template = await find()
    if (template) return
    await client.query("SELECT pg_advisory_lock(hashtext('twostep_template'))")
    template = await find()
    if (template) return
    await dropStale(client)
    // Renamed once complete, so that a template that can be seen can be used.
    await client.query('DROP DATABASE IF EXISTS twostep_unfinished WITH (FORCE)')
    await client.query('CREATE DATABASE twostep_unfinished TEMPLATE template0')
    const database = await openDatabase({ url: urlOf(serverUrl, 'twostep_unfinished') })
    await database.migrate().finally(database.close)
    template = `${name}_${Date.now().toString(36)}`
    await client.query(`ALTER DATABASE twostep_unfinished RENAME TO ${template}`)
  })
  return template ?? name
}

// Without FORCE: a database with open connections is not stale.
async function dropStale(client: pg.Client): Promise<void> {
  const { rows } = await client.query<{ datname: string }>(
    "SELECT datname FROM pg_database WHERE datname ~ '^twostep_(template|test)_'"
  )
  for (const { datname } of rows) {
    const [, test, template] =
      /^twostep_(?:test_([0-9a-z]+)_|template_[0-9a-f]+_([0-9a-z]+)$)/.exec(datname) ?? []
    const madeAt = Number.parseInt(test ?? template ?? '0', 36)
    if (madeAt > Date.now() - (test ? STALE_AFTER_MS : TEMPLATE_STALE_AFTER_MS)) continue
    await client.query(`DROP DATABASE IF EXISTS ${datname}`).catch(() => {})
  }
}

async function onServer(serverUrl: string, work: (client: pg.Client) => Promise<unknown>) {
  const client = new pg.Client({ connectionString: serverUrl })
  await client.connect()
  try {
    await work(client)
  } finally {
    await client.end()
  }
}

function urlOf(serverUrl: string, database: string): string {
  const url = new URL(serverUrl)
  url.pathname = `/${database}`
  return url.href
}
