// Separate processes: servers, which take a while to become ready, and commands, which end.
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { createServer } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'

/** Returns a port on which no server listens at the moment. */
export async function freePort(): Promise<number> {
  const probe = createServer().listen(0, '127.0.0.1')
  await once(probe, 'listening')
  const address = probe.address()
  probe.close()
  await once(probe, 'close')
  return typeof address === 'object' && address ? address.port : 0
}

/** Resolves when the server reports ready. Throws if it has ended, or takes too long. */
export async function isReady(
  url: string,
  child: ChildProcess,
  { withinMs, everyMs }: { withinMs: number; everyMs: number }
): Promise<void> {
  const deadline = performance.now() + withinMs
  while (performance.now() < deadline) {
    if (child.exitCode !== null) throw new Error(`the server ended with ${child.exitCode}`)
    const answer = await fetch(`${url}/health/ready`).catch(() => null)
    if (answer?.ok) return
    await sleep(everyMs)
  }
  throw new Error('the server did not become ready')
}

/** Runs a file to its end. Returns its exit code and its output. */
export async function runToEnd(file: string, args: string[], env: NodeJS.ProcessEnv) {
  const child = spawn(process.execPath, [file, ...args], {
    // In a test, no program reads the developer's `.env`.
    env: { PATH: process.env['PATH'], NODE_ENV: 'test', ...env },
    stdio: ['ignore', 'pipe', 'pipe']
  })
  const output = { out: '', err: '' }
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    output.out += text
  })
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    output.err += text
  })
  const [code] = await once(child, 'close')
  return { code, ...output }
}
