// Runs the service from src, and starts it again after each save: `npm run dev`. In a terminal its log is readable.
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { watch } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { PinoPretty } from 'pino-pretty'

const source = fileURLToPath(new URL('../', import.meta.url))
/** An editor writes a file in several steps, which are one save. */
const SAVE_MS = 50
// Liftoff alone: the embedded database serves a few requests here, and optimizing it takes a second of each start.
const OPTIONS = ['--liftoff-only', '--enable-source-maps', ...process.execArgv]

// In a process group of its own: Ctrl-C reaches the service only through this process. A second signal would cut off
// the graceful stop.
function start(): ChildProcess {
  const service = spawn(process.execPath, [...OPTIONS, `${source}server.ts`], {
    detached: true,
    stdio: ['ignore', process.stdout.isTTY ? 'pipe' : 'inherit', 'inherit']
  })
  service.stdout?.pipe(
    PinoPretty({ ignore: 'pid,hostname', translateTime: 'HH:MM:ss.l', sync: true })
  )
  return service
}

async function stop(service: ChildProcess): Promise<void> {
  if (service.exitCode !== null || service.signalCode !== null) return
  // Its last log lines arrive before it is closed.
  const stopped = once(service, 'close')
  service.kill('SIGTERM')
  await stopped
}

let service = start()
let isBusy = false

async function restart(): Promise<void> {
  if (isBusy) return
  isBusy = true
  await sleep(SAVE_MS)
  await stop(service)
  service = start()
  isBusy = false
}

watch(source, { recursive: true }, (_event, path) => {
  if (path?.endsWith('.ts')) void restart()
})
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
  process.once(signal, () => {
    isBusy = true
    void stop(service).then(() => process.exit())
  })
}
