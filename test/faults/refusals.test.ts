// S23 for a database server that responds, and refuses: every kind of refusal is 503 and never 500, readiness says so, and
// the service recovers by itself.
import { randomBytes } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import pg from 'pg'
import t, { type Test } from 'tap'
import { openDatabase } from '../../src/data/engine/database.ts'
import { ON_SERVER, startApp, type TestApp } from '../support/app.ts'
import { verdictOf } from '../support/guesses.ts'
import { isProblem } from '../support/problems.ts'

const server = process.env['TEST_DATABASE_URL'] ?? ''

t.test('503: the server refuses', ON_SERVER, async (t) => {
  const role = `twostep_test_role_${randomBytes(4).toString('hex')}`
  const name = `twostep_test_${Date.now().toString(36)}_${randomBytes(4).toString('hex')}`
  const owner = new pg.Client({ connectionString: server })
  await owner.connect()
  const run = (sql: string) => owner.query(sql)
  const endSessions = () =>
    run(`SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '${role}'`)
  await run(`CREATE ROLE ${role} LOGIN PASSWORD 'right'`)
  await run(`CREATE DATABASE ${name} OWNER ${role}`)
  t.teardown(async () => {
    await run(`DROP DATABASE IF EXISTS ${name} WITH (FORCE)`)
    await run(`DROP ROLE ${role}`)
    await owner.end()
  })

  const url = new URL(server)
  Object.assign(url, { username: role, password: 'right', pathname: `/${name}` })
  const database = await openDatabase({ url: url.href })
  t.teardown(() => database.close())
  await database.migrate()
  const app = await startApp(t, { database })
  const user = await app.enrolledUser()
  const change = (sql: string) => async () => {
    await run(sql)
    await endSessions()
  }
  const rename = async () => {
    // A database with sessions cannot be renamed.
    await run(`ALTER DATABASE ${name} ALLOW_CONNECTIONS false`)
    await endSessions()
    await run(`ALTER DATABASE ${name} RENAME TO ${name}_away`)
  }
  const renameBack = async () => {
    await run(`ALTER DATABASE ${name}_away RENAME TO ${name}`)
    await run(`ALTER DATABASE ${name} ALLOW_CONNECTIONS true`)
  }
  const ofRole = (to: string) => change(`ALTER ROLE ${role} ${to}`)
  const ofDatabase = (to: string) => change(`ALTER DATABASE ${name} ${to}`)
  const refusals: [title: string, begin: () => Promise<void>, end: () => Promise<void>][] = [
    ['the login', ofRole('NOLOGIN'), ofRole('LOGIN')],
    ['the database, which has another name now', rename, renameBack],
    [
      'every connection to the database',
      ofDatabase('ALLOW_CONNECTIONS false'),
      ofDatabase('ALLOW_CONNECTIONS true')
    ],
    ['more connections', ofRole('CONNECTION LIMIT 0'), ofRole('CONNECTION LIMIT -1')]
  ]
  for (const [title, begin, end] of refusals) {
    await t.test(title, async (t) => {
      await begin()
      await isAway(t, app, user)
      await end()
      await isBack(t, app, user)
    })
  }
})

type User = Awaited<ReturnType<TestApp['enrolledUser']>>

async function isAway(t: Test, { call, login }: TestApp, user: User): Promise<void> {
  isProblem(t, await login(user), 503, 'unavailable')
  isProblem(t, await call('GET', '/v1/users', { as: user.account.apiKey }), 503, 'unavailable')
  const ready = await call('GET', '/health/ready')
  t.match(isProblem(t, ready, 503, 'unavailable'), { detail: 'Not ready: database.' })
}

async function isBack(t: Test, { call, login }: TestApp, user: User): Promise<void> {
  while ((await call('GET', '/health/ready')).statusCode !== 200) await sleep(20)
  t.equal(verdictOf(await login(user)), '200')
}
