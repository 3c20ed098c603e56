// The section on PgBouncer in docs/scale.md, run as it is printed.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import t, { type Test } from 'tap'
import { testEnvironment, verbsOver } from '../../../support/app.ts'
import {
  blocksOf,
  keepsStatements,
  startPgbouncer,
  WITH_PGBOUNCER
} from '../../../support/pgbouncer.ts'
import {
  createPostgresqlServer,
  type PostgresqlServer
} from '../../../support/postgresql-server.ts'
import { failToStart, startServer } from '../../../support/server.ts'

const USERS = 15
/** Older releases do not know the setting, and work as if it were 0. */
const NO_STATEMENTS = keepsStatements() ? 'max_prepared_statements = 0' : ''

t.test(
  'session pooling: a start migrates through PgBouncer and serves',
  WITH_PGBOUNCER,
  async (t) => {
    const { server } = await prepared(t)
    const [configuration = ''] = await blocksOf('ini')
    t.match(configuration, /^pool_mode = session$/m)
    const url = await startPgbouncer(t, { configuration, serverPort: server.port })
    const first = await startServer(t, { DATABASE_URL: url })
    await startServer(t, { DATABASE_URL: url })
    await signInAll(t, first.url)
    t.equal(await first.stop(), 0)
  }
)

const withStatements = WITH_PGBOUNCER.skip
  ? WITH_PGBOUNCER
  : { skip: keepsStatements() ? false : 'needs PgBouncer 1.21 or later' }

t.test(
  'transaction pooling: the printed commands migrate, and replicas serve',
  withStatements,
  async (t) => {
    const { server, direct } = await prepared(t)
    await prepareForTransactions(t, server, direct)
    const [, configuration = ''] = await blocksOf('ini')
    const url = await startPgbouncer(t, { configuration, serverPort: server.port })
    const replicas = [
      await startServer(t, { DATABASE_URL: url }),
      await startServer(t, { DATABASE_URL: url })
    ]
    for (const { url } of replicas) await signInAll(t, url)
  }
)

t.test('a start fails if the pooler loses prepared statements', WITH_PGBOUNCER, async (t) => {
  const { server, direct } = await prepared(t)
  await prepareForTransactions(t, server, direct)
  const [, printed = ''] = await blocksOf('ini')
  t.match(printed, /^pool_mode = transaction$/m)
  const transactions = printed.replace(/^max_prepared_statements.*$/m, NO_STATEMENTS)
  const statements = transactions.replace('= transaction', '= statement')
  for (const [configuration, reason] of [
    [transactions, 'does not keep prepared statements'],
    [statements, 'allows no transactions']
  ] as const) {
    const url = await startPgbouncer(t, { configuration, serverPort: server.port })
    const { code, output } = await failToStart(t, { DATABASE_URL: url })
    t.equal(code, 1)
    t.equal(
      output,
      `twostep can't start: the connection pooler in front of the database ${reason}; set pool_mode = session, ` +
        'or pool_mode = transaction with max_prepared_statements above 0 (PgBouncer 1.21 or later)\n'
    )
  }
})

/** Starts a server with the role and the database of the page. */
async function prepared(t: Test) {
  const server = await createPostgresqlServer(t)
  await server.query('CREATE ROLE twostep LOGIN')
  await server.query('CREATE DATABASE twostep OWNER twostep')
  return { server, direct: `postgresql://twostep@127.0.0.1:${server.port}/twostep` }
}

/** Runs the SQL and the command that the page prints for transaction pooling. */
async function prepareForTransactions(t: Test, server: PostgresqlServer, direct: string) {
  const [sql = ''] = await blocksOf('sql')
  await server.query(sql)
  const [command = ''] = await blocksOf('sh')
  const printed = 'postgresql://twostep:…@database:5432/twostep'
  t.ok(command.includes(printed))
  const child = spawn('sh', ['-c', command.replace(printed, direct)], {
    env: { PATH: process.env['PATH'], ...testEnvironment() },
    stdio: ['ignore', 'ignore', 'inherit']
  })
  const [code] = await once(child, 'exit')
  t.equal(code, 0, 'the printed command migrates')
}

/** Signs users in at the same time, so that each connection of the pool is used. */
async function signInAll(t: Test, url: string): Promise<void> {
  const { createAccount, createUser, enrolled, verify } = verbsOver(url)
  const account = await createAccount({ slug: `acme-${new URL(url).port}` })
  const verdicts = await Promise.all(
    Array.from({ length: USERS }, async (_, index) => {
      const email = `user${index}@example.com`
      const user = await enrolled(await createUser({ account, email }))
      return (await verify(await user.stepToken(), user.nextCode())).statusCode
    })
  )
  t.same(verdicts, Array(USERS).fill(200))
}
