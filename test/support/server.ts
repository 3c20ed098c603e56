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
  /** Returns everything that it has written so far: its log and its messages to the terminal. */
  output(): string
  /** Sends SIGKILL and waits for the exit. */
  kill(): Promise<void>
  /** Sends SIGTERM and waits for the exit. Returns the exit code. */
  stop(): Promise<number | null>
}

/** Starts the built service in a separate process and resolves when it is ready. It ends with the test, or before. */
export async function startServer(
  t: Test,
  env: NodeJS.ProcessEnv,
  entry?: string
): Promise<Server> {
  return (await beginServer(t, env, entry)).untilReady()
}

/** Starts the service like `startServer`, for a test that reads its output before it is ready. */
export async function beginServer(t: Test, env: NodeJS.ProcessEnv, entry: string = ENTRY) {
  const port = env['PORT'] ?? String(await freePort())
  const { child, output } = await launch(t, { ...env, PORT: port }, entry)
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

/** Starts the service with an environment that it must refuse. Returns its exit code and its output. */
export async function failToStart(t: Test, env: NodeJS.ProcessEnv) {
  const { child, output } = await launch(t, env, ENTRY)
  if (child.exitCode === null) await once(child, 'close')
  return { code: child.exitCode, output: output() }
}

async function launch(t: Test, env: NodeJS.ProcessEnv, entry: string) {
  await access(entry).catch(() => {
    throw new Error(`${entry} is missing: npm run build`)
  })
  // The service keeps files without a configured place here, such as mails if the database is a server.
  const cwd = await mkdtemp(join(tmpdir(), 'twostep-'))
  t.teardown(() => rm(cwd, { recursive: true, force: true }))
  const child = spawn(process.execPath, [...ENGINE_ARGS, entry], {
    cwd,
    env: { PATH: process.env['PATH'], ...testEnvironment({ LOG_LEVEL: 'warn', ...env }) },
    stdio: ['ignore', 'pipe', 'pipe']
  })
  t.teardown(() => killed(child))
  const parts: Buffer[] = []
  child.stdout.on('data', (part) => parts.push(part))
  child.stderr.on('data', (part) => parts.push(part))
  return { child, output: () => Buffer.concat(parts).toString() }
}

/** Sends SIGKILL to a process and waits for its exit. */
export async function killed(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return
  const gone = once(child, 'exit')
  child.kill('SIGKILL')
  await gone
}
