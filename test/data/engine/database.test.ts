import t from 'tap'
import { openDatabase } from '../../../src/data/engine/database.ts'
import { createStatementNames } from '../../../src/data/engine/postgresql/statement-names.ts'
import { createEmptyDatabase, openTestDatabase } from '../../support/database.ts'

const server = process.env['TEST_DATABASE_URL']
const withoutServer = server ? false : 'needs TEST_DATABASE_URL'
const account = {
  id: '018f4e3c-0000-7000-8000-000000000001',
  slug: 'acme',
  name: 'Acme',
  audience: 'https://acme.test',
  createdAt: new Date('2030-01-02T03:04:05.678Z')
}

t.test('an unknown scheme is rejected without quoting the password', async (t) => {
  const message = /^DATABASE_URL must begin with .*, not with "mysql:"$/
  await t.rejects(openDatabase({ url: 'mysql://root:secret@127.0.0.1/x' }), { message })
  await t.rejects(openDatabase({ url: '' }), { message: /^DATABASE_URL must begin with/ })
  await t.rejects(openDatabase({ url: 'pglite:' }), { message: /^DATABASE_URL must name a folder/ })
})

t.test(
  'a URL that cannot be used as it is meant is rejected without quoting the password',
  async (t) => {
    const rejected: [url: string, message: RegExp][] = [
      ['postgresql://ada:hunter2@one,two/twostep', /several hosts/],
      ['postgresql://ada:hunter2@one:5432,two:5432/twostep', /several hosts/],
      ['postgresql://ada:hunter2#@host/twostep', /no URL; write # as %23/],
      ['postgresql://ada:hunter2/@host/twostep', /no URL; write # as %23/],
      ['postgresql://ada:hunter2@host/twostep#hunter2', /no URL/],
      ['postgresql://ada:hunter2@host:99999/twostep', /no URL/],
      ['postgresql://ada:hunter2@host', /must name a database/],
      ['postgresql://ada:hunter2@host/', /must name a database/],
      ['postgresql://ada:hunter2@host/twostep?schema=app', /parameter schema; set search_path/]
    ]
    for (const [url, message] of rejected) {
      const error = await openDatabase({ url }).catch((error: Error) => error)
      t.match(error, { message }, url)
      t.match(error, { message: /^DATABASE_URL / })
      t.notMatch(String(error), /hunter2/)
    }
  }
)

t.test('a database with another encoding is rejected', { skip: withoutServer }, async (t) => {
  const url = await createEmptyDatabase(t, server ?? '', 'LATIN1')
  const database = await openDatabase({ url })
  t.teardown(() => database.close())
  await t.rejects(database.ping(), { message: /encoding LATIN1; create one with ENCODING 'UTF8'/ })
})

t.test('exactly one of forty concurrent conditional updates wins', async (t) => {
  const { prisma } = await openTestDatabase(t)
  await Promise.all(Array.from({ length: 10 }, () => prisma.$queryRaw`SELECT pg_sleep(0.05)::text`))
  await prisma.account.create({ data: account })
  await prisma.policy.create({ data: { accountId: account.id, updatedAt: account.createdAt } })
  const updates = await Promise.all(
    Array.from({ length: 40 }, () =>
      prisma.policy.updateMany({
        where: { accountId: account.id, version: 1 },
        data: { version: 2 }
      })
    )
  )
  t.equal(
    updates.reduce((sum, { count }) => sum + count, 0),
    1
  )
})

t.test('ping succeeds while the database is open and fails after it is closed', async (t) => {
  const database = await openTestDatabase(t)
  await database.ping()
  await database.close()
  await t.rejects(database.ping())
})

t.test('ping fails within its second if the server does not respond', async (t) => {
  // TEST-NET-1 (RFC 5737): no host has this address.
  const database = await openDatabase({ url: 'postgresql://postgres@192.0.2.1/x' })
  t.teardown(() => database.close())
  await t.rejects(database.ping())
})

t.test('the database reads values in every time zone and format of the server', async (t) => {
  const database = await openTestDatabase(t)
  const { url } = database
  if (url) {
    const name = new URL(url).pathname.slice(1)
    for (const setting of [
      "timezone TO 'Asia/Tokyo'",
      "DateStyle TO 'German, DMY'",
      "IntervalStyle TO 'iso_8601'",
      "bytea_output TO 'escape'"
    ]) {
      await database.prisma.$executeRawUnsafe(`ALTER DATABASE ${name} SET ${setting}`)
    }
  }
  // The setting affects only new connections.
  const there = url ? await openDatabase({ url }) : database
  t.teardown(() => there.close())
  await there.prisma.account.create({ data: account })
  const rows = await there.prisma.$queryRaw`
    SELECT (extract(epoch FROM "createdAt") * 1000)::float8 AS ms FROM "Account"`
  t.same(rows, [{ ms: account.createdAt.getTime() }])
  t.same((await there.prisma.account.findFirst())?.createdAt, account.createdAt)
  t.same(await there.prisma.$queryRaw`SELECT '\\x00ff5c'::bytea AS bytes`, [
    { bytes: new Uint8Array([0, 255, 92]) }
  ])
})

t.test(
  'lost connections fail at most the queries that ran on them',
  { skip: withoutServer },
  async (t) => {
    const { url = '' } = await openTestDatabase(t)
    const lost: string[] = []
    const log = { warn: (_details: object, message: string) => lost.push(message) }
    const database = await openDatabase({ url, log })
    t.teardown(() => database.close())
    const { prisma } = database
    const killAll = async () => {
      const other = await openDatabase({ url })
      await other.prisma.$queryRaw`
      SELECT pg_terminate_backend(pid) FROM pg_stat_activity
      WHERE datname = current_database() AND pid <> pg_backend_pid()`
      await other.close()
    }

    await Promise.all(
      Array.from({ length: 5 }, () => prisma.$queryRaw`SELECT pg_sleep(0.05)::text`)
    )
    await killAll()
    while (database.poolUse()?.idle !== 0) await new Promise((resolve) => setTimeout(resolve, 5))
    t.ok(lost.length > 0, 'lost idle connections are logged')
    t.equal(await prisma.account.count(), 0, 'the next query gets a new connection')

    const carried = t.rejects(prisma.$queryRaw`SELECT pg_sleep(3)::text`)
    const transaction = t.rejects(
      prisma.$transaction(async (tx) => {
        await tx.account.create({ data: account })
        await killAll()
        await tx.account.count()
      })
    )
    await Promise.all([carried, transaction])
    t.equal(await prisma.account.count(), 0)
  }
)

t.test('the server cancels a statement that takes too long', { skip: withoutServer }, async (t) => {
  const { url = '' } = await openTestDatabase(t)
  const database = await openDatabase({ url: `${url}?statement_timeout=200` })
  t.teardown(() => database.close())
  await t.rejects(database.prisma.$queryRaw`SELECT pg_sleep(2)::text`, { message: /timeout/ })
})

t.test('statement names are stable, distinct and bounded', async (t) => {
  const nameOf = createStatementNames(2)
  const one = nameOf({ sql: 'SELECT 1' })
  t.match(one, /^.{22}$/)
  t.equal(nameOf({ sql: 'SELECT 1' }), one)
  t.not(nameOf({ sql: 'SELECT 2' }), one)
  t.equal(nameOf({ sql: 'SELECT 3' }), '', 'unnamed after the maximum')
  t.equal(nameOf({ sql: 'SELECT 1' }), one)
})
