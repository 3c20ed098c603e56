// The shares of a user on the code routes. A caller who has passed the first step, such as with a stolen password, can send
// requests as the user. Such a caller must not use up what the user needs, so each address has a share of its own.
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { networksOf } from '../../core/input/client-addresses.ts'
import { createLimiter, type LimitState } from './limiters.ts'

export interface UserShares {
  /** Throws `rate-limited` if the user has no request left. Counts nothing. */
  requireUserShare(request: FastifyRequest, reply: FastifyReply, userId: string): Promise<void>
  /**
   * Counts the request against the user at this address, and against the user at all addresses together. Throws
   * `rate-limited`.
   */
  spendUserShare(request: FastifyRequest, reply: FastifyReply, userId: string): Promise<void>
  /** Returns what to record about a spent share: an event once a minute for a user, and a mail once an hour. */
  noteSpentShare(
    request: FastifyRequest,
    userId: string
  ): Promise<{ event: boolean; mail: boolean }>
}

export interface UserSharesOptions {
  /** Requests that an address may make in a minute. */
  perMinute: number
  requireBudget(name: 'user', state: LimitState, reply: FastifyReply): void
}

const MINUTE_MS = 60_000
const HOUR_MS = 60 * MINUTE_MS
/** A user's share of what an address may do: a person enters a handful of codes a minute. */
const SHARE_AT_ADDRESS = 1 / 4
/**
 * What a user has at all addresses together. A caller who knows the password needs as many addresses to use it up, and
 * guesses at codes have their own, far smaller budgets (core/attempts).
 */
const ADDRESSES_PER_USER = 20

export function createUserShares(
  app: FastifyInstance,
  { perMinute, requireBudget }: UserSharesOptions
): UserShares {
  const limiter = (name: string, max: number, windowMs = MINUTE_MS) =>
    createLimiter(app, { name, max, windowMs })
  const share = Math.max(1, Math.floor(perMinute * SHARE_AT_ADDRESS))
  const atAddress = limiter('user-address', share)
  const everywhere = limiter('user', share * ADDRESSES_PER_USER)
  const events = limiter('user-event', 1)
  const mails = limiter('user-mail', 1, HOUR_MS)

  /** A site counts as one address: its owner must not use up what the user has elsewhere. */
  function keyAt({ clientAddress }: FastifyRequest, userId: string): string {
    const { client, site } = networksOf(clientAddress)
    return `${userId}:${site ?? client}`
  }

  return {
    async requireUserShare(request, reply, userId) {
      const only = { increment: false }
      const states = await Promise.all([
        atAddress(request, keyAt(request, userId), only),
        everywhere(request, userId, only)
      ])
      for (const state of states) if (state.isExceeded) requireBudget('user', state, reply)
    },

    async spendUserShare(request, reply, userId) {
      requireBudget('user', await atAddress(request, keyAt(request, userId)), reply)
      // Only what the address may send counts for the user as a whole.
      requireBudget('user', await everywhere(request, userId), reply)
    },

    async noteSpentShare(request, userId) {
      const event = await events(request, userId)
      if (event.isExceeded) return { event: false, mail: false }
      const mail = await mails(request, userId)
      return { event: true, mail: !mail.isExceeded }
    }
  }
}
