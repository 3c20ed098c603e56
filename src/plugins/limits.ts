// Limits on requests: by address, by user on the code routes, and the pause after failed passwords. They bound load and
// noise. Guesses at codes are bounded by core/attempts.
import rateLimit, { normalizeIP } from '@fastify/rate-limit'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import fastifyPlugin from 'fastify-plugin'
import type { Redis } from 'ioredis'
import { Problem } from '../wire/problem.ts'
import { createLimiter, type LimitState } from './limits/limiters.ts'
import { createPasswordPauses, type PasswordPauses } from './limits/password-pauses.ts'

declare module 'fastify' {
  interface FastifyContextConfig {
    /**
     * The limits of a route: `address`, `codes` (address and user), or `none` (probes). A request with a valid API key
     * or operator key is exempt from the address limit, because one back end makes requests for many users.
     */
    limit?: LimitGroup
  }
}

type LimitGroup = 'none' | 'address' | 'codes'

export interface LimitsOptions {
  /** Requests that an address may make in a minute. The other limits scale with it. */
  perMinute: number
  /** Shared by all replicas; null keeps the counts in this process. */
  redis: Redis | null
}

export interface Limits extends PasswordPauses {
  /** How many requests each limit has rejected in this process. */
  readonly rejections: Readonly<Record<'address' | 'user' | 'password', number>>
  /** Counts the request against its address. Throws `rate-limited`. */
  spendAddress(request: FastifyRequest, reply: FastifyReply): Promise<void>
  /** Counts the request against its user. Throws `rate-limited`. */
  spendUser(request: FastifyRequest, reply: FastifyReply, userId: string): Promise<void>
}

const MINUTE_MS = 60_000
/** A user's share of what an address may do: a person enters a handful of codes a minute. */
const USER_SHARE = 1 / 4
/** Counters kept in one process. A flood from fewer addresses than this evicts no counter. */
const COUNTERS_MAX = 100_000
/** RFC 4291 §2.5.4: one customer has one /64, so a single address in it says nothing. */
const IPV6_SUBNET_BITS = 64

/** Registers the counters on the app. Returns what the other plugins and the routes call. */
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
  const rejections = { address: 0, user: 0, password: 0 }
  const perAddress = createLimiter(app, { name: 'address', max: perMinute, windowMs: MINUTE_MS })
  const perUser = createLimiter(app, {
    name: 'user',
    max: Math.max(1, Math.floor(perMinute * USER_SHARE)),
    windowMs: MINUTE_MS
  })

  function requireBudget(name: 'address' | 'user', state: LimitState, reply: FastifyReply): void {
    setHeaders(reply, state)
    if (!state.isExceeded) return
    rejections[name] += 1
    throw new Problem('rate-limited', {
      headers: { 'retry-after': String(Math.max(1, state.ttlInSeconds)) }
    })
  }

  return {
    rejections,

    async spendAddress(request, reply) {
      requireBudget('address', await perAddress(request, addressOf(request)), reply)
    },

    async spendUser(request, reply, userId) {
      requireBudget('user', await perUser(request, userId), reply)
    },

    ...createPasswordPauses(app, {
      addressOf,
      onRefusal: () => {
        rejections.password += 1
      }
    })
  }
}

/** Counts every request against its address, except those with a valid key. */
export const addressLimit = fastifyPlugin<{ limits: Limits }>(
  async (app, { limits }) => {
    app.addHook('onRequest', async (request, reply) => {
      if (request.credential || request.routeOptions.config.limit === 'none') return
      await limits.spendAddress(request, reply)
    })
  },
  { name: 'address-limit', dependencies: ['bearer-keys'] }
)

/** Counts every request on a code route against its user. */
export const userLimit = fastifyPlugin<{ limits: Limits }>(
  async (app, { limits }) => {
    app.addHook('onRequest', async (request, reply) => {
      const { credential, routeOptions } = request
      if (routeOptions.config.limit !== 'codes' || !credential) return
      if ('subject' in credential) {
        await limits.spendUser(request, reply, credential.subject.userId)
      }
    })
  },
  { name: 'user-limit', dependencies: ['bearer-tokens'] }
)

function addressOf({ ip }: FastifyRequest): string {
  return normalizeIP(ip, IPV6_SUBNET_BITS)
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
