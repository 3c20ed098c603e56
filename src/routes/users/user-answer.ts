// The representation of a user that all routes about users share.
import { type Demands, decide, isTwoFactorRequired } from '../../core/policy.ts'
import { twoFactorFacts, twoFactorState } from '../../core/two-factor.ts'
import type { Policies } from '../../data/policy/policies.ts'
import type { RosterUser } from '../../data/users/roster.ts'
import type { User } from '../../wire/users.ts'

/** Returns a function that represents single users under the current policy of their account. */
export function createUserAnswers({ policies, now }: { policies: Policies; now: () => Date }) {
  return async (user: RosterUser): Promise<User> =>
    userAnswer(user, await policies.find(user.accountId), now())
}

/** Returns the representation of a user under a policy and a mandate, at an instant. */
export function userAnswer(user: RosterUser, demands: Demands, now: Date): User {
  const { authenticators, codeLockedUntil, codeDisabledAt } = user
  const facts = twoFactorFacts(user, demands.policy.sso, now)
  const isLockRunning = codeLockedUntil !== null && codeLockedUntil > now
  return {
    id: user.id,
    email: user.email,
    role: user.role,
    disabled: user.disabledAt !== null,
    externalId: user.externalId,
    createdAt: user.createdAt.toISOString(),
    lastSignInAt: user.lastSignInAt?.toISOString() ?? null,
    twoFactor: {
      state: twoFactorState(facts),
      since: authenticators[0]?.confirmedAt.toISOString() ?? null,
      lockedUntil: isLockRunning ? codeLockedUntil.toISOString() : null,
      codesDisabledAt: codeDisabledAt?.toISOString() ?? null,
      authenticators: authenticators.length,
      recoveryCodesRemaining: user._count.recoveryCodes,
      required: isTwoFactorRequired({ ...demands, now }),
      exempt: facts.isExempt,
      reason: decide({
        policy: demands.policy,
        mandate: demands.mandate,
        now,
        user: { hasAuthenticator: facts.isEnrolled },
        arrival: facts.isExempt ? 'sso' : 'password',
        hasTrustedDevice: false
      }).reason
    }
  }
}
