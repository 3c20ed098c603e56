// S23 for a database server that still reads: its disk is full, or its synchronous standby is silent. Writes get 503,
// readiness says so, the waiting sessions on the server stay few, and the service recovers by itself.
import { rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { openDatabase } from '../../src/data/engine/database.ts'
import { DATABASE_TIMEOUTS } from '../../src/data/engine/engine.ts'
import { startApp, type TestApp } from '../support/app.ts'
import { tally, verdictOf } from '../support/guesses.ts'
import { createPostgresqlServer, WITH_POSTGRESQL_SERVER } from '../support/postgresql-server.ts'
import { isProblem } from '../support/problems.ts'

const MEGABYTES = 48
const USERS = 30
/** Twice the size of a replica's pool: sessions that wait, and sessions that replace them. */
const SESSIONS_MAX = 20

t.test('503: the disk is full', WITH_POSTGRESQL_SERVER, async (t) => {
  const server = await createPostgresqlServer(t)
  const small = await server.createSmallDatabase(t, MEGABYTES)
  if (!small) {
    t.skip('needs the right to mount a small disk', async () => {})
    return
  }
  const app = await startOn(t, small.url)
  const { apiKey: as } = await app.createAccount()
  const filler = join(small.disk, 'filler')
  // The write fails when the disk is full.
  await writeFile(filler, Buffer.alloc(MEGABYTES * 1024 * 1024)).catch(() => {})

  const createUsers = async (round: string) => {
    const answers = []
    for (let made = 0; made < USERS; made += 1) {
      const body = { email: `user${made}-${round}-${'x'.repeat(180)}@example.com` }
      answers.push(await app.call('POST', '/v1/users', { as, body }))
    }
    return answers
  }
  let refused: Record<string, number> = {}
  for (let round = 0; !refused['503 unavailable']; round += 1) {
    refused = tally(await createUsers(`full${round}`))
  }
  t.same(
    Object.keys(refused).filter((verdict) => !/^(201|503 unavailable)$/.test(verdict)),
    []
  )
  await isAway(t, app)
  t.equal(verdictOf(await app.call('GET', '/v1/users', { as })), '200', 'users can be read')

  await rm(filler)
  await isBack(app)
  t.same(tally(await createUsers('again')), { 201: USERS })
})

t.test('503: the synchronous standby is silent', WITH_POSTGRESQL_SERVER, async (t) => {
  const server = await createPostgresqlServer(t)
  const app = await startOn(t, server.url)
  const { apiKey: as } = await app.createAccount()
  const standby = await server.createStandby(t)
  await server.set('synchronous_standby_names', '*')
  const createUser = (name: string) =>
    app.call('POST', '/v1/users', { as, body: { email: `${name}@example.com` } })
  t.equal(verdictOf(await createUser('before')), '201')

  standby.freeze()
  const sessions: number[] = []
  const acknowledged: string[] = []
  for (let round = 0; round < 8; round += 1) {
    const names = Array.from({ length: USERS }, (_, index) => `user-${round}-${index}`)
    const answers = await Promise.all(names.map(createUser))
    for (const [index, answer] of answers.entries()) {
      if (verdictOf(answer) === '201') acknowledged.push(names[index] ?? '')
      else isProblem(t, answer, 503, 'unavailable')
    }
    const { rows } = await server.query(
      "SELECT count(*)::int FROM pg_stat_activity WHERE application_name = 'twostep'"
    )
    sessions.push(rows[0]?.count)
  }
  t.ok(Math.max(...sessions) <= SESSIONS_MAX, `sessions on the server: ${sessions}`)
  await isAway(t, app)

  standby.thaw()
  await isBack(app)
  t.equal(verdictOf(await createUser('after')), '201')
  for (const name of acknowledged) t.equal(verdictOf(await createUser(name)), '409 email-taken')
})

async function startOn(t: Test, url: string): Promise<TestApp> {
  const database = await openDatabase({ url, timeouts: DATABASE_TIMEOUTS })
  t.teardown(() => database.close())
  await database.migrate()
  return startApp(t, { database })
}

async function isAway(t: Test, { call }: TestApp): Promise<void> {
  const ready = await call('GET', '/health/ready')
  t.match(isProblem(t, ready, 503, 'unavailable'), { detail: 'Not ready: database.' })
}

async function isBack({ call }: TestApp): Promise<void> {
  while ((await call('GET', '/health/ready')).statusCode !== 200) await sleep(20)
}
