// Limits on requests: by address, by user on the code routes, and the pause after failed passwords. They bound load and
// noise. Guesses at codes are bounded by core/attempts.
import rateLimit from '@fastify/rate-limit'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import fastifyPlugin from 'fastify-plugin'
import type { Redis } from 'ioredis'
import { CLIENTS_PER_SITE, networksOf } from '../core/input/client-addresses.ts'
import { Problem } from '../wire/problem.ts'
import { createLimiter, type Limiter, type LimitState } from './limits/limiters.ts'
import { createPasswordPauses, type PasswordPauses } from './limits/password-pauses.ts'
import { createUserShares, type UserShares } from './limits/user-shares.ts'

declare module 'fastify' {
  interface FastifyContextConfig {
    /**
     * The limits of a route: `address`, `codes` (address and user), or `none` (probes). A request with a valid API key
     * or operator key is exempt from the address limit, because one back end makes requests for many users. An API key
     * has a limit of its own.
     */
    limit?: LimitGroup
  }
}

type LimitGroup = 'none' | 'address' | 'codes'

export interface LimitsOptions {
  /** Requests that an address may make in a minute. The limits of users scale with it. */
  perMinute: number
  /** Requests that one API key, and all keys of one account, may make in a minute. */
  perKeyPerMinute: number
  perAccountPerMinute: number
  /** Shared by all replicas; null keeps the counts in this process. */
  redis: Redis | null
}

export interface Limits extends PasswordPauses, UserShares {
  /** How many requests each limit has rejected in this process. */
  readonly rejections: Readonly<Record<'address' | 'user' | 'key' | 'password', number>>
  /** Counts the request against its address, and against its IPv6 site. Throws `rate-limited`. */
  spendAddress(request: FastifyRequest, reply: FastifyReply): Promise<void>
  /** Counts a preflight request in the same way, but apart from other requests. Throws `rate-limited`. */
  spendPreflight(request: FastifyRequest, reply: FastifyReply): Promise<void>
  /**
   * Holds one request of the address back until the caller knows whether it counts. Returns the function that ends the
   * hold. Throws `rate-limited` if the held requests are all that the address has left. So concurrent requests
   * can't exceed the limit either, as far as one replica sees them.
   */
  holdAddress(request: FastifyRequest, reply: FastifyReply): Promise<() => void>
  /**
   * Counts the request against a valid API key, and against all keys of its account. Throws `rate-limited`. Counts nothing
   * while Redis is unavailable: this limit keeps an account from hurting others, and guards no secret.
   */
  spendKey(
    request: FastifyRequest,
    reply: FastifyReply,
    key: { id: string; accountId: string }
  ): Promise<void>
}

const MINUTE_MS = 60_000

/** Registers the counters on the app. Returns what the other plugins and the routes call. */
export async function createLimits(
  app: FastifyInstance,
  { perMinute, perKeyPerMinute, perAccountPerMinute, redis }: LimitsOptions
): Promise<Limits> {
  await app.register(rateLimit, {
    global: false,
    nameSpace: 'twostep:limit:',
    skipOnError: false,
    ...(redis ? { redis } : {})
  })
  const rejections = { address: 0, user: 0, key: 0, password: 0 }
  const limiter = (name: string, max: number) =>
    createLimiter(app, { name, max, windowMs: MINUTE_MS })
  const perAddress = limiter('address', perMinute)
  const perSite = limiter('site', perMinute * CLIENTS_PER_SITE)
  const perPreflight = limiter('preflight', perMinute)
  const perPreflightSite = limiter('preflight-site', perMinute * CLIENTS_PER_SITE)

  const perKey = limiter('key', perKeyPerMinute)
  const perAccount = limiter('account', perAccountPerMinute)

  const held = createHolds()

  function requireBudget(
    name: 'address' | 'user' | 'key',
    state: LimitState,
    reply: FastifyReply
  ): void {
    setHeaders(reply, state)
    if (!state.isExceeded) return
    rejections[name] += 1
    throw new Problem('rate-limited', {
      headers: { 'retry-after': String(Math.max(1, state.ttlInSeconds)) }
    })
  }

  function spendNetworks(ofClient: Limiter, ofSite: Limiter): Limits['spendAddress'] {
    return async (request, reply) => {
      const { client, site } = networksOf(request.clientAddress)
      requireBudget('address', await ofClient(request, client), reply)
      if (site !== null) requireBudget('address', await ofSite(request, site), reply)
    }
  }

  const spendAddress = spendNetworks(perAddress, perSite)

  return {
    rejections,

    spendAddress,

    spendPreflight: spendNetworks(perPreflight, perPreflightSite),

    async holdAddress(request, reply) {
      const { client, site } = networksOf(request.clientAddress)
      const holds = [held.hold(client), ...(site === null ? [] : [held.hold(site)])]
      const release = () => {
        for (const hold of holds) hold.release()
      }
      try {
        const only = { increment: false }
        const left = [
          await perAddress(request, client, only),
          ...(site === null ? [] : [await perSite(request, site, only)])
        ]
        if (left.every(({ remaining }, index) => (holds[index]?.place ?? 0) <= remaining))
          return release
        await spendAddress(request, reply)
        throw new Problem('rate-limited', { headers: { 'retry-after': '1' } })
      } catch (error) {
        release()
        throw error
      }
    },

    async spendKey(request, reply, { id, accountId }) {
      const states = await Promise.all([perKey(request, id), perAccount(request, accountId)]).catch(
        () => []
      )
      for (const state of states) requireBudget('key', state, reply)
    },

    ...createUserShares(app, { perMinute, requireBudget }),

    ...createPasswordPauses(app, () => {
      rejections.password += 1
    })
  }
}

/** Counts every request against its address, unless it has a valid key or is counted as a preflight. */
export const addressLimit = fastifyPlugin<{ limits: Limits }>(
  async (app, { limits }) => {
    app.addHook('onRequest', async (request, reply) => {
      const isExempt = request.credential !== null || request.method === 'OPTIONS'
      if (isExempt || request.routeOptions.config.limit === 'none') return
      await limits.spendAddress(request, reply)
    })
  },
  { name: 'address-limit', dependencies: ['bearer-keys'] }
)

/**
 * Counts every OPTIONS request against its address, before @fastify/cors responds. It has a limit of its own: browsers
 * send one for each request of a page, and must be able to read why the request itself is rejected.
 */
export const preflightLimit = fastifyPlugin<{ limits: Limits }>(
  async (app, { limits }) => {
    app.addHook('onRequest', async (request, reply) => {
      if (request.method === 'OPTIONS') await limits.spendPreflight(request, reply)
    })
  },
  { name: 'preflight-limit', dependencies: ['peer-and-host'] }
)

/** Counts the requests of each key that are held at the moment. */
function createHolds() {
  const counts = new Map<string, number>()
  const count = (key: string) => counts.get(key) ?? 0
  const change = (key: string, by: number) => {
    const changed = count(key) + by
    if (changed === 0) counts.delete(key)
    else counts.set(key, changed)
  }
  return {
    /** Returns the place of this hold among those of its key, and the function that ends it. */
    hold(key: string): { place: number; release: () => void } {
      change(key, 1)
      return { place: count(key), release: () => change(key, -1) }
    }
  }
}

/** draft-ietf-httpapi-ratelimit-headers-06. If two limits apply, the headers show the tighter one. */
function setHeaders(reply: FastifyReply, { max, remaining, ttlInSeconds }: LimitState): void {
  const known = reply.getHeader('ratelimit-remaining')
  if (known !== undefined && Number(known) <= remaining) return
  reply.headers({
    'ratelimit-limit': String(max),
    'ratelimit-remaining': String(remaining),
    'ratelimit-reset': String(ttlInSeconds)
  })
}
