import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import { Redis } from 'ioredis'
import type { Test } from 'tap'
import { freePort, killed } from './server.ts'

/** Options of a test that stops and starts a Redis of its own. */
export const ON_REDIS = {
  skip: spawnSync('redis-server', ['--version']).status === 0 ? false : 'needs redis-server'
}

export interface RedisServer {
  url: string
  /** Still there, and says nothing any more. */
  freeze(): void
  thaw(): void
  /** Gone, with all it knew. */
  stop(): Promise<void>
  /** On the same port again. */
  start(): Promise<void>
  flush(): Promise<void>
}

/** A Redis of the test's own on a free port, gone with the test. */
export async function startRedis(t: Test): Promise<RedisServer> {
  const port = await freePort()
  const url = `redis://127.0.0.1:${port}`
  let child: ChildProcess | undefined

  async function stop(): Promise<void> {
    if (!child) return
    child.kill('SIGCONT')
    await killed(child)
  }

  async function start(): Promise<void> {
    const settings = [
      '--port',
      String(port),
      '--bind',
      '127.0.0.1',
      '--save',
      '',
      '--appendonly',
      'no'
    ]
    child = spawn('redis-server', settings, { stdio: 'ignore' })
    await Promise.race([answers(url), once(child, 'exit').then(() => failed())])
  }

  t.teardown(stop)
  await start()
  return {
    url,
    freeze: () => child?.kill('SIGSTOP'),
    thaw: () => child?.kill('SIGCONT'),
    stop,
    start,
    flush: async () => {
      const client = new Redis(url)
      await client.flushall()
      client.disconnect()
    }
  }
}

function failed(): never {
  throw new Error('redis-server ended')
}

async function answers(url: string): Promise<void> {
  const client = new Redis(url, { retryStrategy: () => 50 })
  client.on('error', () => {})
  while (client.status !== 'ready') await sleep(20)
  await client.ping()
  client.disconnect()
}
