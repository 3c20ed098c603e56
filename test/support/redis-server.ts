import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { setTimeout as sleep } from 'node:timers/promises'
import { Redis } from 'ioredis'
import type { Test } from 'tap'
import { freePort } from './processes.ts'
import { killed } from './server.ts'

/** Options of a test that stops a Redis server of its own. */
export const WITH_REDIS_SERVER = {
  skip: spawnSync('redis-server', ['--version']).status === 0 ? false : 'needs redis-server'
}

export interface RedisServer {
  url: string
  /** Suspends the process: it sends no responses, like a machine that swaps or a network that drops packets. */
  freeze(): void
  thaw(): void
  kill(): Promise<void>
  /** Starts without data, on the same port. */
  start(): Promise<void>
  /** Runs one command as a client of the test's own. */
  command(...command: [string, ...string[]]): Promise<unknown>
}

/** Creates a Redis server for this test, which the test may start, freeze and stop. */
export async function createRedisServer(t: Test): Promise<RedisServer> {
  const port = await freePort()
  const url = `redis://127.0.0.1:${port}`
  let server: ChildProcess | undefined
  const kill = async () => {
    if (server) await killed(server)
  }
  t.teardown(kill)

  async function command(...[name, ...rest]: [string, ...string[]]): Promise<unknown> {
    const client = new Redis(url, { lazyConnect: true, retryStrategy: () => null })
    client.on('error', () => {})
    try {
      await client.connect()
      return await client.call(name, ...rest)
    } finally {
      client.disconnect()
    }
  }

  async function isUp(): Promise<boolean> {
    return command('PING').then(
      () => true,
      () => false
    )
  }

  return {
    url,
    freeze: () => void server?.kill('SIGSTOP'),
    thaw: () => void server?.kill('SIGCONT'),
    kill,
    start: async () => {
      const options = ['--bind', '127.0.0.1', '--port', String(port), '--save', '']
      server = spawn('redis-server', [...options, '--appendonly', 'no'], { stdio: 'ignore' })
      while (!(await isUp())) await sleep(20)
    },
    command
  }
}
