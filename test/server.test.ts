// The process: which starts it refuses, what it prints, and how it ends.
import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { readFile, stat } from 'node:fs/promises'
import { type IncomingMessage, request } from 'node:http'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { type TestUser, verbsOver } from './support/app.ts'
import { withBinaries } from './support/binaries.ts'
import { createTestDatabase } from './support/database.ts'
import { freePort } from './support/processes.ts'
import { atOnce } from './support/replicas.ts'
import { failToStart, killed, startServer } from './support/server.ts'

/** The number of sign-ins that may hash or wait at the same time. */
const LOGINS = 20
/** Options of a test of the embedded database, which does not have to run again with a database server. */
const EMBEDDED = { skip: process.env['TEST_DATABASE_URL'] ? 'runs without a server' : false }
const ON_TERMINAL = EMBEDDED.skip ? EMBEDDED : withBinaries('script')
const STACK = /\n\s+at /
/** An unavailable database: no server listens on its port. */
const AWAY = { DATABASE_URL: 'postgresql://postgres:hunter2@127.0.0.1:1/x' }

t.test('a refused start prints the reason in one line, and exits with 1', async (t) => {
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
    t.notMatch(output, /hunter2|aHVudGVyMg/, 'no value is printed')
  }
})

t.test('the log warns of an embedded database in production', async (t) => {
  const env = { NODE_ENV: 'production', DATABASE_URL: 'pglite:/dev/null/no-folder' }
  const [warning = ''] = (await failToStart(t, env)).output.split('\n')
  t.match(JSON.parse(warning), { level: 40, msg: /^embedded database in production/ })
})

t.test('a start that has OPERATOR_KEY prints no other operator key', async (t) => {
  const { output } = await failToStart(t, { ...AWAY, DATABASE_WAIT_SECONDS: '0', MASTER_KEYS: '' })
  t.match(output, /^twostep can't start: .*127\.0\.0\.1:1[^\n]*\n$/)
})

t.test('a start waits for the database for the configured time', async (t) => {
  const { code, output } = await failToStart(t, { ...AWAY, DATABASE_WAIT_SECONDS: '1' })
  t.equal(code, 1)
  const [waiting = '', end = '', ...rest] = output.trimEnd().split('\n')
  t.match(JSON.parse(waiting), { msg: 'database unavailable' })
  t.match(end, /^twostep can't start: .*127\.0\.0\.1:1/)
  t.same(rest, [])
  t.notMatch(output, /hunter2/)
})

t.test('a first start creates its keys, and prints the operator key once', EMBEDDED, async (t) => {
  const folder = t.testdir()
  const env = { DATABASE_URL: `pglite:${folder}`, MASTER_KEYS: '', OPERATOR_KEY: '', NODE_ENV: '' }
  const first = await startServer(t, env)
  const file = join(folder, 'keys.json')
  t.equal((await stat(file)).mode & 0o777, 0o600)
  const { operatorKey, masterKeys } = JSON.parse(await readFile(file, 'utf8'))
  t.equal(first.output().split(operatorKey).length, 2, 'printed exactly once')
  t.notOk(first.output().includes(masterKeys))
  const read = () => call('GET', '/v1/accounts', { as: operatorKey })
  let { call } = verbsOver(first.url)
  t.equal((await read()).statusCode, 200)

  const second = await failToStart(t, env)
  t.equal(second.code, 1, 'only one process can use a folder')
  t.match(second.output, /^twostep can't start: .* is in use by process \d+.*DATABASE_URL/)
  t.notMatch(second.output, STACK)
  t.equal((await read()).statusCode, 200, 'the first process keeps running')

  t.equal(await first.stop(), 0)
  const again = await startServer(t, env)
  ;({ call } = verbsOver(again.url))
  t.equal((await read()).statusCode, 200, 'the keys are kept')
  t.notOk(again.output().includes(operatorKey), 'the operator key is not printed again')
  t.equal(await again.stop(), 0)
})

t.test(
  'a terminal shows the address, the reference and where the key is',
  ON_TERMINAL,
  async (t) => {
    const folder = t.testdir({ '.env': 'LOG_LEVEL=silent\nPORT=1\nDATABASE_URL=pglite:./kept\n' })
    const port = await freePort()
    const entry = fileURLToPath(new URL('../dist/server.js', import.meta.url))
    // `script` gives the command a terminal.
    const child = spawn('script', ['-qec', `exec ${process.execPath} ${entry}`, '/dev/null'], {
      cwd: folder,
      env: { PATH: process.env['PATH'], PORT: String(port) },
      stdio: ['ignore', 'pipe', 'inherit']
    })
    t.teardown(() => killedWithCommand(child))
    let shown = ''
    for await (const part of child.stdout) {
      shown += part
      if (shown.includes('keys.json')) break
    }
    const url = `http://127.0.0.1:${port}`
    t.match(shown, `twostep is running at  ${url}`, 'PORT of the environment precedes PORT of .env')
    t.match(shown, `${url}/docs`)
    t.match(shown, 'in kept/keys.json', '.env is read')
    t.notMatch(shown, '{', 'LOG_LEVEL of .env silences the log')
    t.equal((await fetch(`${url}/docs/`)).status, 200)
  }
)

t.test('SIGTERM: accepted requests get a response, then the process exits with 0', async (t) => {
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
  t.same(
    [late.statusCode, late.headers.connection],
    [200, 'close'],
    'the response is sent after the signal'
  )
  for (const { statusCode, body } of await answers) t.equal(statusCode, 200, body)
  t.equal(await stopped, 0, 'no idle connection delays the exit to the deadline (exit code 1)')
  await t.rejects(fetch(`${server.url}/health/live`))
})

/** Begins the request of a sign-in. `finish` sends the rest and returns the response. */
function beginLogin(url: string, { account, email, password }: TestUser) {
  const body = JSON.stringify({ account: account.slug, email, password })
  const headers = { 'content-type': 'application/json', 'content-length': body.length }
  const login = request(`${url}/v1/login`, { method: 'POST', headers })
  const response = once(login, 'response')
  login.write(body.slice(0, 1))
  return {
    async finish(): Promise<IncomingMessage> {
      login.end(body.slice(1))
      const [answer] = await response
      return answer.resume()
    }
  }
}

/** Ends `script` and the command that it has started in a session of its own. */
async function killedWithCommand(child: ChildProcess): Promise<void> {
  const { stdout } = spawnSync('pgrep', ['-P', String(child.pid)], { encoding: 'utf8' })
  for (const pid of stdout.split('\n').filter(Boolean)) process.kill(Number(pid), 'SIGKILL')
  await killed(child)
}
