// All of one user's two-factor. Every change first locks the user's row, so that everything it reads afterwards stays
// true until the transaction ends.
import type { SignedAuditEvent } from '../../core/audit/events.ts'
import { noticeTo } from '../../core/mail/notices.ts'
import { isTwoFactorRequiredOf } from '../../core/policy.ts'
import { requirementOf, type StoredRequirement } from '../../core/two-factor/requirements.ts'
import type { PrismaClient } from '../../generated/prisma/client.ts'
import { type DemandsReader, holdDemands } from '../policy/demands.ts'
import type { UserKey } from '../sign-in/subjects.ts'
import { forgetDevices } from '../sign-in/trusted-devices.ts'
import { type LockedUser, lockOwner, type Owner } from '../sign-in/user-lock.ts'
import { type Transaction, writeRecord } from '../trail/act-records.ts'

/**
 * `invalid-credential`: the token was revoked after it was read, because the user was reset, disabled or deleted, or an
 * authenticator was changed.
 */
export type TurnOffOutcome = 'removed' | 'invalid-credential' | 'policy-requires-authenticator'

export type TwoFactor = ReturnType<typeof createTwoFactor>

export function createTwoFactor(prisma: PrismaClient, demands: DemandsReader) {
  return {
    /**
     * Removes all of the user's two-factor and revokes all of their tokens. Also withdraws the user's own requirement,
     * because the next sign-in would otherwise ask for a set-up. Does nothing if two-factor is off already.
     */
    turnOff(owner: Owner, event: SignedAuditEvent): Promise<TurnOffOutcome> {
      const { accountId, userId } = owner
      return prisma.$transaction(async (transaction) => {
        const user = await lockOwner(transaction, owner)
        if (!user) return 'invalid-credential'
        const active = await transaction.authenticator.count({ where: { accountId, userId } })
        return active === 0
          ? 'removed'
          : turnOffUnlessRequired(transaction, withoutOwnRequirement(user), { event, demands })
      })
    }
  }
}

/** Both paths without failures. Failed guesses at a removed authenticator do not count against the next one. */
export const clearPaths = {
  codeFailures: 0,
  codeLockedUntil: null,
  codeDisabledAt: null,
  recoveryFailures: 0,
  recoveryLockedUntil: null,
  ssoCodeFailures: 0,
  ssoCodeLockedUntil: null,
  ssoCodeDisabledAt: null,
  ssoRecoveryFailures: 0,
  ssoRecoveryLockedUntil: null
} as const

/** Returns the user without a requirement of their own. An admin's requirement stays. */
function withoutOwnRequirement(user: LockedUser): LockedUser {
  return user.requiredBy === 'self' ? { ...user, requiredBy: null, requiredSince: null } : user
}

/**
 * Turns two-factor off, unless it is required of the user under the demands that are in force when the transaction
 * commits.
 */
export async function turnOffUnlessRequired(
  transaction: Transaction,
  user: LockedUser,
  { event, demands }: { event: SignedAuditEvent; demands: DemandsReader }
): Promise<'removed' | 'policy-requires-authenticator'> {
  await holdDemands(transaction, user.accountId)
  const inForce = await demands.read(transaction, user.accountId)
  const bound = { role: user.role, requirement: requirementOf(user, true) }
  const now = await demands.laterNow(transaction, event.occurredAt)
  if (isTwoFactorRequiredOf(bound, inForce, now)) return 'policy-requires-authenticator'
  await forgetTwoFactor(transaction, user, NOT_REQUIRED)
  await writeRecord(transaction, event, [noticeTo(user, event, 'two_factor_disabled', {})])
  return 'removed'
}

/** Nothing is required of a user alone. */
const NOT_REQUIRED: StoredRequirement = {
  requiredBy: null,
  requiredSince: null,
  resetPendingSince: null
}

/**
 * Deletes all of a user's two-factor, including trusted devices and counted guesses, revokes all earlier tokens, and
 * stores the requirement that binds the user from then on. The caller holds the lock on the user's row.
 */
export async function forgetTwoFactor(
  transaction: Transaction,
  { accountId, userId }: UserKey,
  required: Partial<StoredRequirement>
): Promise<void> {
  const where = { accountId, userId }
  await transaction.authenticator.deleteMany({ where })
  await transaction.enrollment.deleteMany({ where })
  await transaction.recoveryCode.deleteMany({ where })
  await forgetDevices(transaction, where)
  await transaction.user.updateMany({
    where: { accountId, id: userId },
    data: {
      epoch: { increment: 1 },
      codePathVersion: { increment: 1 },
      ...clearPaths,
      ...required
    }
  })
}
