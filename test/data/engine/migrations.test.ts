import { cp, mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { PGlite } from '@electric-sql/pglite'
import t, { type Test } from 'tap'
import { type Database, openDatabase } from '../../../src/data/engine/database.ts'
import { draftMigration } from '../../../src/data/engine/migrations/drafts.ts'
import { withMigrationLock } from '../../../src/data/engine/migrations/lock.ts'
import { readMigrations } from '../../../src/data/engine/migrations/migrations.ts'
import { createEmptyDatabase, openTestDatabase } from '../../support/database.ts'
import { runToEnd } from '../../support/processes.ts'

const server = process.env['TEST_DATABASE_URL']
const withoutServer = server ? false : 'needs TEST_DATABASE_URL'
const COMMAND = fileURLToPath(new URL('../../../dist/commands/migrate.js', import.meta.url))
const packageFolder = fileURLToPath(new URL('../../../', import.meta.url))

async function openEmpty(t: Test): Promise<Database> {
  const url = server ? await createEmptyDatabase(t, server) : 'pglite:'
  const database = await openDatabase({ url, ...(!server && { pglite: await PGlite.create() }) })
  t.teardown(() => database.close())
  return database
}

/** Copies the project's migrations, and one more, into a separate folder. */
async function folderWith(t: Test, name: string, sql: string): Promise<string> {
  const folder = t.testdir()
  await cp(join(packageFolder, 'prisma/migrations'), folder, { recursive: true })
  await write(folder, name, sql)
  return folder
}

async function write(folder: string, name: string, sql: string): Promise<void> {
  await mkdir(join(folder, name), { recursive: true })
  await writeFile(join(folder, name, 'migration.sql'), sql)
}

t.test('an empty database gets every migration, and the next start applies none', async (t) => {
  const database = await openEmpty(t)
  const names = (await readMigrations()).map(({ name }) => name)
  t.same(await database.migrate(), names)
  t.same(await database.migrate(), [])
  t.equal(await database.prisma.account.count(), 0)
})

t.test(
  'replicas that start at the same time apply each migration once',
  { skip: withoutServer },
  async (t) => {
    const url = await createEmptyDatabase(t, server ?? '')
    const replicas = await Promise.all([1, 2, 3, 4].map(() => openDatabase({ url })))
    t.teardown(() => Promise.all(replicas.map((replica) => replica.close())))
    const applied = await Promise.all(replicas.map((replica) => replica.migrate()))
    const names = (await readMigrations()).map(({ name }) => name)
    t.same(applied.flat(), names)
    for (const { prisma } of replicas) {
      const [count] = await prisma.$queryRaw<object[]>`SELECT count(*)::int FROM _prisma_migrations`
      t.same(count, { count: names.length })
    }
  }
)

t.test(
  'a replica gives up if another process keeps the lock',
  { skip: withoutServer },
  async (t) => {
    const connectionString = await createEmptyDatabase(t, server ?? '')
    await withMigrationLock({ connectionString }, async () => {
      await t.rejects(
        withMigrationLock({ connectionString }, async () => {}, 300),
        {
          message: /another process has been migrating this database/
        }
      )
    })
    t.equal(await withMigrationLock({ connectionString }, async () => 'mine', 0), 'mine')
  }
)

t.test('a failed migration leaves nothing behind, and the next start names it', async (t) => {
  const database = await openTestDatabase(t)
  const broken = 'CREATE TABLE half (a int);\nINSERT INTO half VALUES (1);\nSELECT 1/0;'
  const folder = await folderWith(t, '99990101000000_broken', broken)

  await t.rejects(database.migrate({ folder }), {
    message: /^migration 99990101000000_broken failed, .*: division by zero\. .*--retry 9999/
  })
  const [found] = await database.prisma.$queryRaw<
    object[]
  >`SELECT to_regclass('half')::text AS half`
  t.same(found, { half: null })

  const cause = { message: /^migration 99990101000000_broken failed or was interrupted earlier/ }
  await t.rejects(database.migrate({ folder }), cause)

  const body = 'CREATE FUNCTION two() RETURNS int AS $$ SELECT 1; SELECT 2; $$ LANGUAGE sql;'
  await write(folder, '99990101000000_broken', `${body} CREATE TABLE half (a int);`)
  await t.rejects(database.migrate({ folder }), cause)
  t.same(await database.migrate({ folder, retry: '99990101000000_broken' }), [
    '99990101000000_broken'
  ])
  t.same(await database.prisma.$queryRaw`SELECT two()`, [{ two: 2 }])
})

t.test('a release and a database that do not match', async (t) => {
  const database = await openTestDatabase(t)
  const folder = await folderWith(t, '99990101000000_newer', 'SELECT 1;')
  t.same(await database.migrate({ folder }), ['99990101000000_newer'])

  await t.test('a release older than its database starts', async (t) => {
    t.same(await database.migrate(), [])
  })

  await t.test(
    'a migration that was edited after it was applied is rejected by name',
    async (t) => {
      await write(folder, '99990101000000_newer', 'SELECT 2;')
      await t.rejects(database.migrate({ folder }), {
        message: /^migration 99990101000000_newer was edited after/
      })
    }
  )

  await t.test('an installation without migrations fails with a message', async (t) => {
    await t.rejects(database.migrate({ folder: t.testdir() }), {
      message: /^there are no migrations in /
    })
  })
})

t.test('schema.prisma and the migrations agree', async (t) => {
  const schema = await readFile(join(packageFolder, 'prisma/schema.prisma'), 'utf8')
  const migrations = await readMigrations()
  t.equal(await draftMigration(schema, migrations), undefined)
  const changed = `${schema}\nmodel Label {\n  id String @id\n}\n`
  t.match(await draftMigration(changed, migrations), /^-- CreateTable\nCREATE TABLE "Label"/)
})

t.test('the migrate command names the applied migrations, and fails in one line', async (t) => {
  const migrate = (url: string) => runToEnd(COMMAND, [], { DATABASE_URL: url })
  const url = server ? await createEmptyDatabase(t, server) : `pglite:${t.testdir()}`
  const names = (await readMigrations()).map(({ name }) => name)
  t.same(await migrate(url), { code: 0, out: `${names.join('\n')}\n`, err: '' })
  t.same(await migrate(url), { code: 0, out: 'nothing to apply\n', err: '' })
  const { code, out, err } = await migrate('postgresql://nobody@127.0.0.1:1/x')
  t.same({ code, out }, { code: 1, out: '' })
  t.match(err, /^migrate: Can't reach database server [^\n]*\n$/)
})
