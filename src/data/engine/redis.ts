import { once } from 'node:events'
import type { Redis } from 'ioredis'

/** Whoever waits for a limit waits with a person; past this the answer is 503. */
export const REDIS_COMMAND_TIMEOUT_MS = 300
const CONNECT_TIMEOUT_MS = 500
const RECONNECT_MAX_MS = 1000

/**
 * A Redis that fails fast: no queue while it is away, no retries, 300 ms a command. It reconnects by itself; until
 * then every command throws at once. Resolves when it is connected, or after half a second all the same: a service
 * whose Redis is away starts, and answers 503 where it would have to count.
 */
export async function openRedis(
  url: string,
  { commandTimeoutMs, onError }: { commandTimeoutMs: number; onError: (error: Error) => void }
): Promise<Redis> {
  // Loaded where there is one, as the database engines are.
  const { Redis } = await import('ioredis')
  const redis = new Redis(url, {
    enableOfflineQueue: false,
    maxRetriesPerRequest: 0,
    commandTimeout: commandTimeoutMs,
    connectTimeout: CONNECT_TIMEOUT_MS,
    retryStrategy: (tries) => Math.min(tries * 50, RECONNECT_MAX_MS)
  })
  // Without a listener an error on an idle connection would end the process.
  redis.on('error', onError)
  const patience = AbortSignal.timeout(CONNECT_TIMEOUT_MS)
  await once(redis, 'ready', { signal: patience }).catch(() => {})
  return redis
}
