import { once } from 'node:events'
import type { Redis } from 'ioredis'
import { singleFlight } from './single-flight.ts'

/** A person waits while a request limit is checked. After this time the response is 503. */
export const REDIS_COMMAND_TIMEOUT_MS = 300
const CONNECT_TIMEOUT_MS = 500
const RECONNECT_MAX_MS = 1000
const PROBE_KEY = 'twostep:probe'
const PROBE_KEPT_MS = 1000

/**
 * Opens a connection to Redis that fails fast: no queue while Redis is unavailable, no retries, 300 ms for each
 * command. It reconnects by itself; until then every command throws immediately. Resolves when it is connected, or
 * after half a second without a connection. A service whose Redis is unavailable starts, and responds 503 where it
 * would have to count requests.
 */
export async function openRedis(
  url: string,
  { commandTimeoutMs, onError }: { commandTimeoutMs: number; onError: (error: Error) => void }
): Promise<Redis> {
  // Loaded on demand, like the database engines.
  const { Redis } = await import('ioredis')
  const redis = new Redis(url, {
    enableOfflineQueue: false,
    maxRetriesPerRequest: 0,
    commandTimeout: commandTimeoutMs,
    connectTimeout: CONNECT_TIMEOUT_MS,
    // After a failover, the old connection leads to a replica. A new one leads to the primary, whose name may now resolve
    // to another address. If a Lua script meets a replica, the message contains READONLY, but does not start with it.
    reconnectOnError: ({ message }) => message.includes('READONLY'),
    retryStrategy: (tries) => Math.min(tries * 50, RECONNECT_MAX_MS)
  })
  // Without a listener, an error on an idle connection would end the process.
  redis.on('error', onError)
  const patience = AbortSignal.timeout(CONNECT_TIMEOUT_MS)
  await once(redis, 'ready', { signal: patience }).catch(() => {})
  return redis
}

/**
 * Returns a check that throws if Redis accepts no writes: it is unreachable, a replica, or out of memory, or cannot save its
 * data.
 */
export function writeCheckOf(redis: Redis): () => Promise<void> {
  // Redis rejects this command for every reason for which it would reject the command of a counter.
  return singleFlight(async () => {
    await redis.set(PROBE_KEY, '', 'PX', PROBE_KEPT_MS)
  })
}
