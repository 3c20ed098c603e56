// Limits on requests: how many an address may make, how many a user may make on the code routes, and how fast an
// address may try passwords on a user. They bound load and noise; what bounds guesses at codes is core/attempts.
import { createHash } from 'node:crypto'
import rateLimit, { normalizeIP, type RateLimitOptions } from '@fastify/rate-limit'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import type { Redis } from 'ioredis'
import { PASSWORD_FAILURES_WINDOW_SECONDS, passwordDelaySeconds } from '../core/password-delays.ts'
import { Problem, unavailable } from '../wire/problem.ts'

declare module 'fastify' {
  interface FastifyContextConfig {
    /**
     * Which limits a route is under: `address` alone, `codes` (address, and the user), or `none` (probes). A live
     * API key or operator key is exempt from the address limit: one back end speaks for many people.
     */
    limit?: LimitGroup
  }
}

export type LimitGroup = 'none' | 'address' | 'codes'

export interface LimitsOptions {
  /** Requests an address may make in a minute; the other limits scale with it. */
  perMinute: number
  /** Shared by all replicas; null keeps the counts in this process. */
  redis: Redis | null
}

export interface PasswordTry {
  account: string
  email: string
}

/** What refuses: the limit on an address, the one on a user, and the pause after failed passwords. */
export type LimitName = 'address' | 'user' | 'password'

export interface Limits {
  /** How many requests each limit has refused in this process. */
  readonly refused: Readonly<Record<LimitName, number>>
  /** Counts the request against its address. Throws `rate-limited`. */
  spendAddress(request: FastifyRequest, reply: FastifyReply): Promise<void>
  /** Counts the request against its user. Throws `rate-limited`. */
  spendUser(request: FastifyRequest, reply: FastifyReply, userId: string): Promise<void>
  /**
   * Refuses a password try that comes too soon after failures. Throws `too-many-attempts`. To be asked before the password
   * is hashed, which is work, and again before anybody hears how it was judged: others may have failed meanwhile.
   */
  requirePasswordPause(request: FastifyRequest, tried: PasswordTry): Promise<void>
  /** Counts a failed password against user and address; a right one is never counted. */
  countFailedPassword(request: FastifyRequest, tried: PasswordTry): Promise<void>
}

type Limiter = ReturnType<FastifyInstance['createRateLimit']>
type LimitState = Exclude<Awaited<ReturnType<Limiter>>, { isAllowed: true }>

const MINUTE_MS = 60_000
/** A user's share of what an address may do: a person enters a handful of codes a minute. */
const USER_SHARE = 1 / 4
/** Counters kept in one process; flooding with fewer addresses than this evicts nobody's. */
const COUNTERS_MAX = 100_000
/** RFC 4291 §2.5.4: one customer is one /64, so one address of it says nothing. */
const IPV6_SUBNET_BITS = 64

/** Registers the counters on the app, and answers what the other plugins and the routes call. */
export async function createLimits(
  app: FastifyInstance,
  { perMinute, redis }: LimitsOptions
): Promise<Limits> {
  await app.register(rateLimit, {
    global: false,
    cache: COUNTERS_MAX,
    nameSpace: 'twostep:limit:',
    skipOnError: false,
    ...(redis ? { redis } : {})
  })
  const refused = { address: 0, user: 0, password: 0 }
  const keys = new WeakMap<FastifyRequest, Map<string, string>>()

  /** One limiter; on Redis all share one key space, so the name is part of the key. */
  function createLimiter(name: string, options: RateLimitOptions): Limiter {
    const limit = app.createRateLimit({
      ...options,
      keyGenerator: (request) => `${name}:${keys.get(request)?.get(name)}`
    } satisfies RateLimitOptions)
    return async (request, callOptions) => {
      try {
        return await limit(request, callOptions)
      } catch (cause) {
        // Without its counts the service would be open to guessing: closed is the safe side.
        throw unavailable({ cause })
      }
    }
  }

  const addressLimit = createLimiter('address', { max: perMinute, timeWindow: MINUTE_MS })
  const userLimit = createLimiter('user', {
    max: Math.max(1, Math.floor(perMinute * USER_SHARE)),
    timeWindow: MINUTE_MS
  })
  const failedPasswords = createLimiter('password-failures', {
    max: Number.MAX_SAFE_INTEGER,
    timeWindow: PASSWORD_FAILURES_WINDOW_SECONDS * 1000
  })
  // Exceeded as long as it exists: each failure sets it anew for as long as the failures so far are worth.
  const passwordPause = createLimiter('password-pause', {
    max: 0,
    continueExceeding: true,
    timeWindow: async (request) => passwordDelaySeconds(await failuresOf(request)) * 1000
  })

  async function failuresOf(request: FastifyRequest): Promise<number> {
    const state = stateOf(await failedPasswords(request, { increment: false }))
    return state.max - state.remaining
  }

  function keep(request: FastifyRequest, name: string, key: string): void {
    const known = keys.get(request) ?? new Map<string, string>()
    keys.set(request, known.set(name, key))
  }

  async function spend(
    name: 'address' | 'user',
    limit: Limiter,
    request: FastifyRequest,
    reply: FastifyReply
  ): Promise<void> {
    const state = stateOf(await limit(request))
    setHeaders(reply, state)
    if (state.isExceeded) {
      refused[name] += 1
      throw new Problem('rate-limited', {
        headers: { 'retry-after': String(Math.max(1, state.ttlInSeconds)) }
      })
    }
  }

  function keepPasswordKey(request: FastifyRequest, { account, email }: PasswordTry): void {
    const key = digest([account, email, addressOf(request)])
    keep(request, 'password-failures', key)
    keep(request, 'password-pause', key)
  }

  return {
    refused,

    spendAddress(request, reply) {
      keep(request, 'address', addressOf(request))
      return spend('address', addressLimit, request, reply)
    },

    spendUser(request, reply, userId) {
      keep(request, 'user', userId)
      return spend('user', userLimit, request, reply)
    },

    async requirePasswordPause(request, tried) {
      keepPasswordKey(request, tried)
      const pause = stateOf(await passwordPause(request, { increment: false }))
      if (!pause.isExceeded) return
      refused.password += 1
      throw new Problem('too-many-attempts', {
        detail: 'Too many failed sign-ins. Wait before the next one.',
        headers: { 'retry-after': String(Math.max(1, pause.ttlInSeconds)) }
      })
    },

    async countFailedPassword(request, tried) {
      keepPasswordKey(request, tried)
      const { max, remaining } = stateOf(await failedPasswords(request))
      if (passwordDelaySeconds(max - remaining) > 0) await passwordPause(request)
    }
  }
}

function addressOf({ ip }: FastifyRequest): string {
  return normalizeIP(ip, IPV6_SUBNET_BITS)
}

// Addresses and e-mails of people who never had an account here need not stand in Redis.
function digest(parts: string[]): string {
  return createHash('sha256').update(JSON.stringify(parts)).digest('base64url')
}

// No limiter here has an allow list, so the other branch can't be.
function stateOf(state: Awaited<ReturnType<Limiter>>): LimitState {
  if (state.isAllowed) throw new Error('a limiter without an allow list let a request pass unseen')
  return state
}

/** draft-ietf-httpapi-ratelimit-headers-06; where two limits apply, the tighter one speaks. */
function setHeaders(reply: FastifyReply, { max, remaining, ttlInSeconds }: LimitState): void {
  const known = reply.getHeader('ratelimit-remaining')
  if (known !== undefined && Number(known) <= remaining) return
  reply.headers({
    'ratelimit-limit': String(max),
    'ratelimit-remaining': String(remaining),
    'ratelimit-reset': String(ttlInSeconds)
  })
}
