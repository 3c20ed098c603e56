// Starts servers in separate processes, pinned to the first core if `taskset` is installed, and reads their CPU time and
// memory from the operating system.
import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { freePort, isReady } from '../test/support/processes.ts'

const READY_WITHIN_MS = 30_000
/** The unit of CPU time in Linux (`getconf CLK_TCK`), the same on every architecture that Node supports. */
const TICKS_PER_SECOND = 100

export const IS_PINNED = availableParallelism() > 1 && isInstalled('taskset')

export interface Server {
  url: string
  /** From the start of the process until its readiness probe succeeds. */
  startedInMs: number
  /** User and system time of all threads so far. */
  cpuSeconds(): number
  memory(): { nowMiB: number; peakMiB: number }
  stop(): Promise<void>
}

/** Pins load generation and measurement to the last core, away from the servers. */
export function pinThisProcess(): void {
  if (!IS_PINNED) return
  const last = String(availableParallelism() - 1)
  execFileSync('taskset', ['-a', '-cp', last, String(process.pid)], { stdio: 'ignore' })
}

/** Returns the command that runs Node on the first core, away from the load. */
export function pinned(args: string[]): [string, ...string[]] {
  const node = [process.execPath, ...args] as [string, ...string[]]
  return IS_PINNED ? ['taskset', '-c', '0', ...node] : node
}

/** Starts a server and resolves when it is ready. Unless it shares all cores, it is pinned to the first one. */
export async function startServer(
  args: string[],
  env: NodeJS.ProcessEnv,
  { sharesCores = false } = {}
): Promise<Server> {
  const port = await freePort()
  const [command, ...rest] = sharesCores ? ([process.execPath, ...args] as const) : pinned(args)
  const startedAt = performance.now()
  const child = spawn(command, rest, {
    env: { PATH: process.env['PATH'], ...env, PORT: String(port) },
    // The server writes its logs as in production. Where they go is not part of the measurement.
    stdio: ['ignore', 'ignore', 'inherit']
  })
  const url = `http://127.0.0.1:${port}`
  await isReady(url, child, { withinMs: READY_WITHIN_MS, everyMs: 5 })
  return {
    url,
    startedInMs: performance.now() - startedAt,
    cpuSeconds: () => cpuSecondsOf(child),
    memory: () => memoryOf(child),
    async stop() {
      const exited = once(child, 'exit')
      child.kill('SIGTERM')
      await exited
    }
  }
}

function cpuSecondsOf({ pid }: ChildProcess): number {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
  // The command's name, in parentheses, may contain spaces: proc(5).
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  return (Number(fields[11]) + Number(fields[12])) / TICKS_PER_SECOND
}

function memoryOf({ pid }: ChildProcess): { nowMiB: number; peakMiB: number } {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8')
  const mib = (name: string) => Number(new RegExp(`${name}:\\s+(\\d+) kB`).exec(status)?.[1]) / 1024
  return { nowMiB: mib('VmRSS'), peakMiB: mib('VmHWM') }
}

function isInstalled(command: string): boolean {
  try {
    execFileSync(command, ['--version'], { stdio: 'ignore' })
    return true
  } catch {
    return false
  }
}
