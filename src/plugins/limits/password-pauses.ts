// The pause after failed passwords, by user and address. core/passwords/password-delays decides how long it is.
import { createHash } from 'node:crypto'
import type { FastifyInstance, FastifyRequest } from 'fastify'
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

export interface PasswordPausesOptions {
  addressOf(request: FastifyRequest): string
  /** Called for each request that has to wait. */
  onRefusal(): void
}

export function createPasswordPauses(
  app: FastifyInstance,
  { addressOf, onRefusal }: PasswordPausesOptions
): PasswordPauses {
  const failures = createLimiter(app, {
    name: 'password-failures',
    max: Number.MAX_SAFE_INTEGER,
    windowMs: PASSWORD_FAILURES_WINDOW_SECONDS * 1000
  })
  // A limit of 0: as long as its window is open, the user has to wait. Each failure starts the window again, as long as
  // the failures so far require.
  const pause = createLimiter(app, {
    name: 'password-pause',
    max: 0,
    continueExceeding: true,
    windowMs: async (request, key) => {
      const soFar = await failures(request, key, { increment: false })
      return passwordDelaySeconds(countOf(soFar)) * 1000
    }
  })

  function keyOf(request: FastifyRequest, { account, email }: PasswordTry): string {
    return digest([account, email, addressOf(request)])
  }

  return {
    async requirePasswordPause(request, tried) {
      const state = await pause(request, keyOf(request, tried), { increment: false })
      if (!state.isExceeded) return
      onRefusal()
      throw new Problem('too-many-attempts', {
        detail: 'Too many failed sign-ins. Wait before you try again.',
        headers: { 'retry-after': String(Math.max(1, state.ttlInSeconds)) }
      })
    },

    async countFailedPassword(request, tried) {
      const key = keyOf(request, tried)
      const state = await failures(request, key)
      if (passwordDelaySeconds(countOf(state)) > 0) await pause(request, key)
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
