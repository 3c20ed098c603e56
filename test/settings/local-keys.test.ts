// Local keys: made once, readable only by their owner, and the same for concurrent starts.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import t, { type Test } from 'tap'
import { parseBearerKey } from '../../src/core/bearer-keys.ts'
import { parseConfig } from '../../src/settings/config.ts'
import { readEnvironment } from '../../src/settings/environment.ts'
import { openLocalKeys, readLocalKeys, readOrMakeKeys } from '../../src/settings/local-keys.ts'
import { COMPLETE, OPERATOR_ID } from './refusals.ts'

const modeOf = (path: string) => (statSync(path).mode & 0o777).toString(8)

t.test('keys are made once, and only their owner can read them', async (t) => {
  const folder = join(t.testdir(), 'deep', 'data')
  const made = readOrMakeKeys(folder)
  t.equal(made.isNew, true)
  t.equal(modeOf(join(folder, 'keys.json')), '600')
  t.equal(modeOf(folder), '700')
  t.match(made.keys.masterKeys, /^local:[A-Za-z0-9+/]{43}=$/)
  t.equal(parseBearerKey(made.keys.operatorKey)?.kind, 'operator')
  t.strictSame(readdirSync(folder), ['keys.json'], 'no draft is left')
  for (let start = 0; start < 3; start++) {
    t.strictSame(readOrMakeKeys(folder), { keys: made.keys, isNew: false })
  }
  t.strictSame(readdirSync(folder), ['keys.json'])
  t.strictSame(JSON.parse(readFileSync(join(folder, 'keys.json'), 'utf8')), made.keys)
})

t.test('two folders have different keys', async (t) => {
  const [one, other] = ['one', 'other'].map((name) => readOrMakeKeys(join(t.testdir(), name)).keys)
  t.not(one?.masterKeys, other?.masterKeys)
  t.not(one?.operatorKey, other?.operatorKey)
})

t.test('a draft that a crashed start left does not stop the next start', async (t) => {
  const folder = t.testdir()
  const draft = join(folder, `keys.json.${process.pid}`)
  writeFileSync(draft, 'half of a', { mode: 0o600 })
  const { isNew, keys } = readOrMakeKeys(folder)
  t.equal(isNew, true)
  t.strictSame(readOrMakeKeys(folder).keys, keys)
  t.equal(modeOf(join(folder, 'keys.json')), '600')
})

t.test('throws: a folder that can’t keep keys', async (t) => {
  const file = join(t.testdir({ file: '' }), 'file')
  t.throws(() => readOrMakeKeys(file), { code: 'EEXIST' })
  t.throws(() => readOrMakeKeys(join(file, 'below')), { code: 'ENOTDIR' })
  const taken = join(t.testdir(), 'taken')
  mkdirSync(join(taken, 'keys.json'), { recursive: true })
  t.throws(() => readOrMakeKeys(taken), { code: 'EISDIR' })
})

t.test('reading makes no keys', async (t) => {
  const folder = t.testdir()
  t.equal(readLocalKeys(folder), null)
  t.strictSame(readdirSync(folder), [])
  const { keys } = readOrMakeKeys(folder)
  t.strictSame(readLocalKeys(folder), keys)
})

t.test('outside production a start makes the keys that it lacks, once', async (t) => {
  const environment = readEnvironment({ DATABASE_URL: `pglite:${t.testdir()}` })
  const [first, second] = [openLocalKeys(environment), openLocalKeys(environment)]
  t.match(first, { keys: { masterKeys: /^local:/, operatorKey: /^tso_/ }, isNew: true })
  t.strictSame(second, { keys: first?.keys, isNew: false })
  const configs = [first, second].map((opened) => parseConfig(environment, opened?.keys))
  t.strictSame(configs[0], configs[1])
})

t.test('a start with one key in its environment makes the other', async (t) => {
  const { MASTER_KEYS, OPERATOR_KEY } = COMPLETE
  for (const given of [{ MASTER_KEYS }, { OPERATOR_KEY }]) {
    const environment = readEnvironment({ DATABASE_URL: `pglite:${t.testdir()}`, ...given })
    const { masterKeys, operatorKey } = parseConfig(environment, openLocalKeys(environment)?.keys)
    const expected = 'MASTER_KEYS' in given ? 'k1' : 'local'
    t.equal(masterKeys[0].id, expected)
    t.equal(operatorKey.id === OPERATOR_ID, 'OPERATOR_KEY' in given)
  }
})

t.test('no keys are made: in production, or if the environment has both', async (t) => {
  const folder = t.testdir()
  const DATABASE_URL = `pglite:${folder}`
  t.equal(openLocalKeys(readEnvironment({ NODE_ENV: 'production', DATABASE_URL })), null)
  t.equal(openLocalKeys(readEnvironment({ ...COMPLETE, NODE_ENV: 'test', DATABASE_URL })), null)
  t.strictSame(readdirSync(folder), [])
})

t.test('throws: the error names the key and the folder, and quotes no file', async (t) => {
  const folder = t.testdir({ 'keys.json': 'hunter2 hunter2' })
  const DATABASE_URL = `pglite:${folder}`
  const { MASTER_KEYS } = COMPLETE
  for (const [env, key] of [
    [{ DATABASE_URL }, 'MASTER_KEYS'],
    [{ DATABASE_URL, MASTER_KEYS }, 'OPERATOR_KEY']
  ] as const) {
    t.throws(() => openLocalKeys(readEnvironment(env)), {
      name: 'ConfigError',
      message: `${key} is not set, and ${folder} can't keep local keys: ${join(folder, 'keys.json')} is not JSON`
    })
  }
})

/** Starts a process that reads or makes the folder's keys on a signal from the test. */
async function prepareElsewhere(t: Test, folder: string) {
  const module = new URL('../../dist/settings/local-keys.js', import.meta.url)
  const script = `const { readOrMakeKeys } = await import(${JSON.stringify(module.href)})
    console.error('ready')
    process.stdin.once('data', () => console.log(JSON.stringify(readOrMakeKeys(${JSON.stringify(folder)}))))`
  const child = spawn(process.execPath, ['--input-type=module', '--eval', script], {
    stdio: 'pipe',
    env: { ...process.env, NODE_OPTIONS: '' }
  })
  t.teardown(() => child.kill())
  await once(child.stderr, 'data')
  return async () => {
    child.stdin.end('go')
    return JSON.parse(await text(child.stdout)) as ReturnType<typeof readOrMakeKeys>
  }
}

t.test('concurrent starts agree on one set of keys, which one of them made', async (t) => {
  const data = join(t.testdir(), 'data')
  const starts = await Promise.all([1, 2, 3, 4].map(() => prepareElsewhere(t, data)))
  const read = await Promise.all(starts.map((start) => start()))
  t.equal(new Set(read.map(({ keys }) => JSON.stringify(keys))).size, 1)
  t.equal(read.filter(({ isNew }) => isNew).length, 1)
  t.strictSame(readdirSync(data), ['keys.json'])
})
