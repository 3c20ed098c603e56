// The pause after failed passwords, by user and address. core/passwords/password-delays decides how long it is.
import { createHash } from 'node:crypto'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import { CLIENTS_PER_SITE, networksOf } from '../../core/input/client-addresses.ts'
import {
  PASSWORD_FAILURES_WINDOW_SECONDS,
  passwordDelaySeconds
} from '../../core/passwords/password-delays.ts'
import { Problem } from '../../wire/problem.ts'
import { createLimiter, type LimitState } from './limiters.ts'

interface PasswordTry {
  account: string
  email: string
}

export interface PasswordPauses {
  /**
   * Throws `too-many-attempts` for a password that comes too soon after failures. The caller asks before it hashes the
   * password, which is work, and again before it sends the verdict: other requests may have failed meanwhile.
   */
  requirePasswordPause(request: FastifyRequest, tried: PasswordTry): Promise<void>
  /** Counts a failed password against the user and the address. A right password is never counted. */
  countFailedPassword(request: FastifyRequest, tried: PasswordTry): Promise<void>
}

/** Creates the pauses. `onRefusal` is called for each request that has to wait. */
export function createPasswordPauses(app: FastifyInstance, onRefusal: () => void): PasswordPauses {
  const ofClient = createPause(app, { name: 'password', clients: 1 })
  const ofSite = createPause(app, { name: 'password-site', clients: CLIENTS_PER_SITE })

  /** Returns the pauses that a try belongs to, each with its key. */
  function pausesOf(request: FastifyRequest, { account, email }: PasswordTry) {
    const { client, site } = networksOf(request.clientAddress)
    const keyOf = (network: string) => digest([account, email, network])
    return [
      { pause: ofClient, key: keyOf(client) },
      ...(site === null ? [] : [{ pause: ofSite, key: keyOf(site) }])
    ]
  }

  return {
    async requirePasswordPause(request, tried) {
      for (const { pause, key } of pausesOf(request, tried)) {
        const state = await pause.read(request, key)
        if (!state.isExceeded) continue
        onRefusal()
        throw new Problem('too-many-attempts', {
          detail: 'Too many failed sign-ins. Wait before you try again.',
          headers: { 'retry-after': String(Math.max(1, state.ttlInSeconds)) }
        })
      }
    },

    async countFailedPassword(request, tried) {
      for (const { pause, key } of pausesOf(request, tried)) await pause.countFailure(request, key)
    }
  }
}

interface PauseOptions {
  name: string
  /** How many clients share it. The delay grows with the failures of one of them, on average. */
  clients: number
}

function createPause(app: FastifyInstance, { name, clients }: PauseOptions) {
  const failures = createLimiter(app, {
    name: `${name}-failures`,
    max: Number.MAX_SAFE_INTEGER,
    windowMs: PASSWORD_FAILURES_WINDOW_SECONDS * 1000
  })
  const delaySeconds = (state: LimitState) =>
    passwordDelaySeconds(Math.floor(countOf(state) / clients))
  // A limit of 0: as long as its window is open, the user has to wait. Each failure starts the window again, as long as
  // the failures so far require.
  const pause = createLimiter(app, {
    name: `${name}-pause`,
    max: 0,
    continueExceeding: true,
    windowMs: async (request, key) =>
      delaySeconds(await failures(request, key, { increment: false })) * 1000
  })

  return {
    read: (request: FastifyRequest, key: string) => pause(request, key, { increment: false }),

    async countFailure(request: FastifyRequest, key: string): Promise<void> {
      const state = await failures(request, key)
      if (delaySeconds(state) > 0) await pause(request, key)
    }
  }
}

function countOf({ max, remaining }: LimitState): number {
  return max - remaining
}

// Hashed, so that Redis holds no address or e-mail of people who have no account here.
function digest(parts: string[]): string {
  return createHash('sha256').update(JSON.stringify(parts)).digest('base64url')
}
