// The representation of a user that all routes about users share.
import { type BoundUser, type Demands, decide, isTwoFactorRequiredOf } from '../../core/policy.ts'
import { requirementOf } from '../../core/two-factor/requirements.ts'
import {
  type TwoFactorFacts,
  twoFactorFacts,
  twoFactorState
} from '../../core/two-factor/states.ts'
import type { Policies } from '../../data/policy/policies.ts'
import type { RosterUser } from '../../data/users/roster.ts'
import type { Requirement, User } from '../../wire/users.ts'

/** Returns a function that represents single users under the current policy of their account. */
export function createUserAnswers({ policies, now }: { policies: Policies; now: () => Date }) {
  return async (user: RosterUser): Promise<User> =>
    userAnswer(user, await policies.find(user.accountId), now())
}

/** Returns the representation of a user under a policy and a mandate, at an instant. */
export function userAnswer(user: RosterUser, demands: Demands, now: Date): User {
  const { authenticators, codeLockedUntil, codeDisabledAt } = user
  const facts = twoFactorFacts(user, demands.policy.sso, now)
  const { required, exempt, requirement, reason } = standingOf(user, facts, demands, now)
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
      required,
      requirement,
      exempt,
      reason
    }
  }
}

/** Returns the requirements for a user, and the result of a right first step now, without a trusted device. */
export function standingOf(user: RosterUser, facts: TwoFactorFacts, demands: Demands, now: Date) {
  const bound = boundUser(user)
  const { isEnrolled: hasAuthenticator, isExempt: exempt } = facts
  const { outcome, reason } = decide({
    policy: demands.policy,
    mandate: demands.mandate,
    now,
    user: { ...bound, hasAuthenticator },
    arrival: exempt ? 'sso' : 'password',
    hasTrustedDevice: false
  })
  const required = isTwoFactorRequiredOf(bound, demands, now)
  return { outcome, reason, required, exempt, requirement: asRequirement(bound) }
}

/** Returns the facts about a user on which requirements depend. */
export function boundUser(user: RosterUser): BoundUser {
  return { role: user.role, requirement: requirementOf(user, user.authenticators.length > 0) }
}

function asRequirement({ requirement }: BoundUser): Requirement | null {
  return requirement && { by: requirement.by, since: requirement.since.toISOString() }
}
