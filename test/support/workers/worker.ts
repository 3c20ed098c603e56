// Runs test files in one process, one after the other. To start a process took longer than most files did. The workers
// of one run take the files from one queue (see ../run.mjs), and each prints a line when a file ends.
import { open, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import t from 'tap'
import { keepInstances } from '../database.ts'
import { current } from './current.ts'

/** For a test that hangs. No file takes a tenth of it, and a slow machine may take all of it. */
const FILE_TIMEOUT_MS = 20 * 60_000

const queue = process.env['TEST_QUEUE']
if (!queue) throw new Error('a worker runs in `npm test` only')

// A closed embedded database holds 100 MB until the collector runs, and V8 does not count them.
setFlagsFromString('--expose-gc')
const collectGarbage: () => void = runInNewContext('gc')

const closeInstances = keepInstances()
const files = (await readFile(join(queue, 'files'), 'utf8')).split('\n')
for (const [index, file] of files.entries()) {
  if (await isMarkedFirst(`claimed-${index}`)) await runFile(file, index)
}
await closeInstances()

async function runFile(file: string, index: number): Promise<void> {
  const startedAt = performance.now()
  const results = await t.test(file, { timeout: FILE_TIMEOUT_MS }, async (t) => {
    current.t = t
    await import(`${pathToFileURL(file)}?shared`)
  })
  await isMarkedFirst(`done-${index}`)
  const tookMs = Math.round(performance.now() - startedAt)
  process.stderr.write(`${results?.ok ? 'ok' : 'not ok'} ${file} (${tookMs} ms)\n`)
  collectGarbage()
}

/** Makes a file in the queue's folder. Returns whether no other worker has made it before. */
async function isMarkedFirst(name: string): Promise<boolean> {
  try {
    await (await open(join(String(queue), name), 'wx')).close()
    return true
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false
    throw error
  }
}
