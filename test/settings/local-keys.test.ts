import { spawn } from 'node:child_process'
import { mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import t, { type Test } from 'tap'
import typescript from 'typescript'
import { parseBearerKey } from '../../src/core/bearer-keys.ts'
import { readLocalKeys } from '../../src/settings/local-keys.ts'

const modeOf = (path: string) => (statSync(path).mode & 0o777).toString(8)

t.test('keys are made once, for their owner’s eyes only', async (t) => {
  const folder = join(t.testdir(), 'deep', 'data')
  const made = readLocalKeys(folder)
  t.equal(made.isNew, true)
  t.equal(modeOf(join(folder, 'keys.json')), '600')
  t.equal(modeOf(folder), '700')
  t.match(made.keys.masterKeys, /^local:[A-Za-z0-9+/]{43}=$/)
  t.equal(parseBearerKey(made.keys.operatorKey)?.kind, 'operator')
  t.strictSame(readdirSync(folder), ['keys.json'], 'no draft is left')
  for (let start = 0; start < 3; start++) {
    t.strictSame(readLocalKeys(folder), { keys: made.keys, isNew: false })
  }
  t.strictSame(readdirSync(folder), ['keys.json'])
  t.strictSame(JSON.parse(readFileSync(join(folder, 'keys.json'), 'utf8')), made.keys)
})

t.test('two folders have nothing in common', async (t) => {
  const [one, other] = ['one', 'other'].map((name) => readLocalKeys(join(t.testdir(), name)).keys)
  t.not(one?.masterKeys, other?.masterKeys)
  t.not(one?.operatorKey, other?.operatorKey)
})

t.test('a draft that a killed start has left is no obstacle', async (t) => {
  const folder = t.testdir()
  const draft = join(folder, `keys.json.${process.pid}`)
  writeFileSync(draft, 'half of a', { mode: 0o600 })
  const { isNew, keys } = readLocalKeys(folder)
  t.equal(isNew, true)
  t.strictSame(readLocalKeys(folder).keys, keys)
  t.equal(modeOf(join(folder, 'keys.json')), '600')
})

t.test('what can’t be kept is an error, not a key that is forgotten', async (t) => {
  const file = join(t.testdir({ file: '' }), 'file')
  t.throws(() => readLocalKeys(file), { code: 'EEXIST' })
  t.throws(() => readLocalKeys(join(file, 'below')), { code: 'ENOTDIR' })
  const taken = join(t.testdir(), 'taken')
  mkdirSync(join(taken, 'keys.json'), { recursive: true })
  t.throws(() => readLocalKeys(taken), { code: 'EISDIR' })
})

/** The module as plain JavaScript: with the loader of the tests a process takes seconds to start. */
function withoutTypes(path: string): string {
  const source = readFileSync(new URL(`../../src/${path}`, import.meta.url), 'utf8')
  const { ESNext } = typescript.ModuleKind
  const options = { module: ESNext, target: 99, rewriteRelativeImportExtensions: true }
  return typescript.transpileModule(source, { compilerOptions: options }).outputText
}

/** Reads the folder's keys in a process of its own, at the given instant. */
async function readElsewhere(t: Test, module: string, folder: string, at: number) {
  const script = `const { readLocalKeys } = await import(${JSON.stringify(module)})
    while (Date.now() < ${at});
    console.log(JSON.stringify(readLocalKeys(${JSON.stringify(folder)})))`
  const child = spawn(process.execPath, ['--input-type=module', '--eval', script], {
    stdio: ['ignore', 'pipe', 'inherit'],
    env: { ...process.env, NODE_OPTIONS: '' }
  })
  t.teardown(() => child.kill())
  return JSON.parse(await text(child.stdout)) as ReturnType<typeof readLocalKeys>
}

t.test('processes that start at once agree on one set of keys, and one has made it', async (t) => {
  const folder = t.testdir({
    'local-keys.js': withoutTypes('local-keys.ts'),
    core: { 'bearer-keys.js': withoutTypes('core/bearer-keys.ts') }
  })
  const module = join(folder, 'local-keys.js')
  const data = join(folder, 'data')
  const at = Date.now() + 800
  const read = await Promise.all([1, 2, 3, 4].map(() => readElsewhere(t, module, data, at)))
  t.equal(new Set(read.map(({ keys }) => JSON.stringify(keys))).size, 1)
  t.equal(read.filter(({ isNew }) => isNew).length, 1)
  t.strictSame(readdirSync(data), ['keys.json'])
})
