// Runs the tests: `npm test`, `npm run test:all` and `npm run test:fast`.
//
//   node test/support/run.mjs [--all | --fast] [--coverage] [FILE…]
//
// Each file named on the command line runs in a process of its own. Without names, two workers share the files.
import { spawn, spawnSync } from 'node:child_process'
import { existsSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'

const WORKERS = ['one', 'two'].map((name) => `test/support/workers/${name}.ts`)
/** The folders whose tests start no other process, and so need no build. */
const FAST = ['audit', 'core', 'crypto', 'routes', 'settings', 'sso']
/** Files that run in a process of their own, because they look at the state of the process. */
const ALONE = [
  // Which packages are loaded.
  'test/plugins/metrics.test.ts',
  'test/plugins/tracing.test.ts'
]

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    all: { type: 'boolean', default: false },
    fast: { type: 'boolean', default: false },
    coverage: { type: 'boolean', default: false }
  }
})

const prepared = spawnSync('npm', ['run', '--silent', values.fast ? 'generate' : 'build'], {
  stdio: 'inherit'
})
if (prepared.status !== 0) process.exit(prepared.status ?? 1)

const queue = mkdtempSync(join(tmpdir(), 'twostep-tests-'))
process.on('exit', () => rmSync(queue, { recursive: true, force: true }))
const all = positionals.length > 0 ? positionals : testFiles()
const alone = positionals.length > 0 ? positionals : all.filter((file) => ALONE.includes(file))
const files = all.filter((file) => !alone.includes(file))
writeFileSync(join(queue, 'files'), files.join('\n'))

const args = ['run', ...(values.coverage ? [] : ['--disable-coverage'])]
// A worker sets a time limit for each file, not for all of them together.
const tests = files.length > 0 ? ['--timeout=36000', ...WORKERS, ...alone] : alone
const tap = spawn('node_modules/.bin/tap', [...args, ...tests], {
  // In a process group of its own, so that Ctrl-C reaches only this process.
  detached: true,
  stdio: ['ignore', 'inherit', 'inherit'],
  env: {
    ...process.env,
    ...(files.length > 0 && { TEST_QUEUE: queue }),
    ...(values.all && { TEST_ROUNDS: 'all' })
  }
})
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, stop)
tap.on('exit', (status, signal) => {
  const unfinished = files.filter((_, index) => !existsSync(join(queue, `done-${index}`)))
  for (const file of unfinished) print(`not ok: ${file} did not run to its end`)
  if (signal) print(`not ok: tap was ended by ${signal}`)
  process.exitCode = status || (signal || unfinished.length > 0 ? 1 : 0)
})

/** Ends the run and every process that it started, without further output from them. */
function stop() {
  process.kill(-tap.pid, 'SIGKILL')
  print('\nstopped')
  process.exit(130)
}

/** @param {string} line */
function print(line) {
  process.stdout.write(`${line}\n`)
}

/** Returns the paths of the test files, in the order in which the workers take them. */
function testFiles() {
  const folders = values.fast ? FAST.map((folder) => join('test', folder)) : ['test']
  return folders
    .flatMap((folder) =>
      readdirSync(folder, { recursive: true }).map((name) => join(folder, String(name)))
    )
    .filter((path) => path.endsWith('.test.ts'))
    .sort()
}
