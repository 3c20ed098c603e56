import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { access, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Test } from 'tap'
import { testEnvironment } from './app.ts'
import { ENGINE_ARGS } from './node-args.ts'
import { freePort, isReady } from './processes.ts'

const ENTRY = fileURLToPath(new URL('../../dist/server.js', import.meta.url))
/** For a start that hangs. A cold start of the embedded database takes a few seconds. */
const READY_WITHIN_MS = 10 * 60_000

export interface Server {
  url: string
  /** All that it has written so far: its log, and what it says to the terminal. */
  output(): string
  /** `kill -9`, and wait until it is gone. */
  kill(): Promise<void>
  /** `SIGTERM`, and wait until it is gone. Returns its exit code. */
  stop(): Promise<number | null>
}

/** The built service in a process of its own, ready to serve; killed with the test at the latest. */
export async function startServer(
  t: Test,
  env: NodeJS.ProcessEnv,
  entry?: string
): Promise<Server> {
  return (await beginServer(t, env, entry)).untilReady()
}

/** The same, for a test that looks on before it is ready. */
export async function beginServer(t: Test, env: NodeJS.ProcessEnv, entry: string = ENTRY) {
  const port = await freePort()
  const { child, output } = await launch(t, { ...env, PORT: String(port) }, entry)
  const kill = () => killed(child)
  const stop = async () => {
    const ended = once(child, 'exit')
    child.kill('SIGTERM')
    return (await ended)[0]
  }
  const url = `http://127.0.0.1:${port}`
  const untilReady = async (): Promise<Server> => {
    try {
      await isReady(url, child, { withinMs: READY_WITHIN_MS, everyMs: 50 })
    } catch (error) {
      throw new Error(output(), { cause: error })
    }
    return { url, output, kill, stop }
  }
  return { output, untilReady }
}

/** Starts the service where it must not start. Returns its exit code and what it said. */
export async function failToStart(t: Test, env: NodeJS.ProcessEnv) {
  const { child, output } = await launch(t, env, ENTRY)
  if (child.exitCode === null) await once(child, 'close')
  return { code: child.exitCode, output: output() }
}

async function launch(t: Test, env: NodeJS.ProcessEnv, entry: string) {
  await access(entry).catch(() => {
    throw new Error(`${entry} is missing: npm run build`)
  })
  // Where it keeps what it has no other place for, as mails beside a database server.
  const cwd = await mkdtemp(join(tmpdir(), 'twostep-'))
  t.teardown(() => rm(cwd, { recursive: true, force: true }))
  const child = spawn(process.execPath, [...ENGINE_ARGS, entry], {
    cwd,
    env: { PATH: process.env['PATH'], ...testEnvironment({ LOG_LEVEL: 'warn', ...env }) },
    stdio: ['ignore', 'pipe', 'pipe']
  })
  t.teardown(() => killed(child))
  const heard: Buffer[] = []
  child.stdout.on('data', (part) => heard.push(part))
  child.stderr.on('data', (part) => heard.push(part))
  return { child, output: () => Buffer.concat(heard).toString() }
}

/** Ends a process at once, and waits until it is gone. */
export async function killed(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return
  const gone = once(child, 'exit')
  child.kill('SIGKILL')
  await gone
}
