// The process edge: what a start refuses, what it says, and how it ends.
import { once } from 'node:events'
import { readFile, stat } from 'node:fs/promises'
import { type IncomingMessage, request } from 'node:http'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { type TestUser, verbsOver } from './support/app.ts'
import { createTestDatabase } from './support/database.ts'
import { atOnce } from './support/replicas.ts'
import { failToStart, startServer } from './support/server.ts'

/** As many as may hash and wait at once. */
const LOGINS = 20
/** Options of a test of the embedded database, which need not run again beside a server. */
const EMBEDDED = { skip: process.env['TEST_DATABASE_URL'] ? 'runs without a server' : false }
const STACK = /\n\s+at /
/** A database that nobody listens for. */
const AWAY = { DATABASE_URL: 'postgresql://postgres:hunter2@127.0.0.1:1/x' }

t.test('a start that can’t be says why in one line, and ends with 1', async (t) => {
  const production = { NODE_ENV: 'production', DATABASE_URL: 'postgresql://postgres@127.0.0.1/x' }
  const refused: [env: NodeJS.ProcessEnv, said: RegExp][] = [
    [{ PORT: 'http' }, /PORT/],
    [{ MASTER_KEYS: 'one:aHVudGVyMg==' }, /MASTER_KEYS/],
    [{ ...production, OPERATOR_KEY: '' }, /OPERATOR_KEY is required in production/],
    [{ ...AWAY, DATABASE_WAIT_SECONDS: '0' }, /127\.0\.0\.1:1/]
  ]
  const starts = await Promise.all(refused.map(([env]) => failToStart(t, env)))
  for (const [index, { code, output }] of starts.entries()) {
    const said = refused[index]?.[1] ?? /^$/
    t.equal(code, 1)
    t.match(output, said)
    t.match(output, /^twostep can't start: [^\n]+\n$/)
    t.notMatch(output, STACK)
    t.notMatch(output, /hunter2|aHVudGVyMg/, 'and shows no value')
  }
})

t.test('a start waits for the database as long as it was told to', async (t) => {
  const { code, output } = await failToStart(t, { ...AWAY, DATABASE_WAIT_SECONDS: '1' })
  t.equal(code, 1)
  const [waiting = '', end = '', ...rest] = output.trimEnd().split('\n')
  t.match(JSON.parse(waiting), { msg: 'database unavailable' })
  t.match(end, /^twostep can't start: .*127\.0\.0\.1:1/)
  t.same(rest, [])
  t.notMatch(output, /hunter2/)
})

t.test('a first start makes its keys, and shows the operator key once', EMBEDDED, async (t) => {
  const folder = t.testdir()
  const env = { DATABASE_URL: `pglite:${folder}`, MASTER_KEYS: '', OPERATOR_KEY: '', NODE_ENV: '' }
  const first = await startServer(t, env)
  const file = join(folder, 'keys.json')
  t.equal((await stat(file)).mode & 0o777, 0o600)
  const { operatorKey, masterKeys } = JSON.parse(await readFile(file, 'utf8'))
  t.equal(first.output().split(operatorKey).length, 2, 'shown exactly once')
  t.notOk(first.output().includes(masterKeys))
  const read = () => call('GET', '/v1/accounts', { as: operatorKey })
  let { call } = verbsOver(first.url)
  t.equal((await read()).statusCode, 200)

  const second = await failToStart(t, env)
  t.equal(second.code, 1, 'a folder serves one process')
  t.match(second.output, /^twostep can't start: .* is in use by process \d+.*DATABASE_URL/)
  t.notMatch(second.output, STACK)
  t.equal((await read()).statusCode, 200, 'and the one goes on')

  t.equal(await first.stop(), 0)
  const again = await startServer(t, env)
  ;({ call } = verbsOver(again.url))
  t.equal((await read()).statusCode, 200, 'the keys are kept')
  t.notOk(again.output().includes(operatorKey), 'and not shown again')
  t.equal(await again.stop(), 0)
})

t.test('SIGTERM: what was accepted is answered, then the process ends with 0', async (t) => {
  const env = { DATABASE_URL: await createTestDatabase(t), LOG_LEVEL: 'info' }
  const server = await startServer(t, env)
  const { createUser, login } = verbsOver(server.url)
  const user = await createUser()
  const logins = () => server.output().split('"url":"/v1/login"').length - 1
  const answers = atOnce(LOGINS, () => login(user))
  const half = beginLogin(server.url, user)
  while (logins() < LOGINS + 1) await sleep(1)
  const stopped = server.stop()
  while (!server.output().includes('"service stopping"')) await sleep(1)
  const late = await half.finish()
  t.same([late.statusCode, late.headers.connection], [200, 'close'], 'answered after the signal')
  for (const { statusCode, body } of await answers) t.equal(statusCode, 200, body)
  t.equal(await stopped, 0, 'no idle connection holds it up to the deadline, which ends with 1')
  await t.rejects(fetch(`${server.url}/health/live`))
})

/** A sign-in whose request has begun, and ends when it is told to. */
function beginLogin(url: string, { account, email, password }: TestUser) {
  const body = JSON.stringify({ account: account.slug, email, password })
  const headers = { 'content-type': 'application/json', 'content-length': body.length }
  const login = request(`${url}/v1/login`, { method: 'POST', headers })
  const answered = once(login, 'response')
  login.write(body.slice(0, 1))
  return {
    async finish(): Promise<IncomingMessage> {
      login.end(body.slice(1))
      const [answer] = await answered
      return answer.resume()
    }
  }
}
