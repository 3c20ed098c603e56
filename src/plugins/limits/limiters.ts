// Counters of requests, kept by @fastify/rate-limit in this process or in Redis.
import type { RateLimitOptions } from '@fastify/rate-limit'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import { unavailable } from '../../wire/problem.ts'

export interface LimiterOptions {
  /** Part of each key, because all limiters share one key space on Redis. */
  name: string
  max: number
  windowMs: number | ((request: FastifyRequest, key: string) => Promise<number>)
  /** Starts the window again with every request beyond the limit. */
  continueExceeding?: boolean
}

/** Counts the request under the key. With `increment: false` it only reads. Throws `unavailable` if it can't count. */
export type Limiter = (
  request: FastifyRequest,
  key: string,
  options?: { increment?: boolean }
) => Promise<LimitState>

type Answer = Awaited<ReturnType<ReturnType<FastifyInstance['createRateLimit']>>>
export type LimitState = Exclude<Answer, { isAllowed: true }>

/**
 * Counters that each limiter keeps in one process; the least recently used one is dropped. A flood from fewer addresses
 * than this resets no counter. The package keeps 5,000 by default, and its global option does not reach a limiter.
 */
const COUNTERS_MAX = 100_000

/** Creates a limiter on an app that has @fastify/rate-limit. */
export function createLimiter(
  app: FastifyInstance,
  { name, max, windowMs, continueExceeding = false }: LimiterOptions
): Limiter {
  // @fastify/rate-limit computes the key from the request alone, and no argument of a call reaches its key generator. So
  // the key of a call waits here, next to its request.
  const keys = new WeakMap<FastifyRequest, string>()
  const keyOf = (request: FastifyRequest) => keys.get(request) ?? ''
  const limiter: RateLimitOptions = {
    max,
    cache: COUNTERS_MAX,
    timeWindow:
      typeof windowMs === 'number' ? windowMs : (request) => windowMs(request, keyOf(request)),
    continueExceeding,
    keyGenerator: (request) => `${name}:${keyOf(request)}`
  }
  const limit = app.createRateLimit(limiter)
  return async (request, key, options) => {
    keys.set(request, key)
    const answer = await limit(request, options).catch((cause) => {
      // Without its counts the service would be open to guessing, so it rejects the request.
      throw unavailable({ cause })
    })
    return stateOf(answer)
  }
}

// The other variant belongs to allow lists, which no limiter here has.
function stateOf(answer: Answer): LimitState {
  if (answer.isAllowed) throw new Error('a limiter without an allow list let a request pass unseen')
  return answer
}
