// All of one user's two-factor. Every change first locks the user's row, so that everything it reads afterwards stays
// true until the transaction ends.
import type { SignedAuditEvent } from '../../core/audit/events.ts'
import { noticeTo } from '../../core/mail/notices.ts'
import { isTwoFactorRequired } from '../../core/policy.ts'
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
     * Removes all of the user's two-factor and revokes all of their tokens. Does nothing if two-factor is off already.
     */
    turnOff(owner: Owner, event: SignedAuditEvent): Promise<TurnOffOutcome> {
      const { accountId, userId } = owner
      return prisma.$transaction(async (transaction) => {
        const user = await lockOwner(transaction, owner)
        if (!user) return 'invalid-credential'
        const active = await transaction.authenticator.count({ where: { accountId, userId } })
        return active === 0
          ? 'removed'
          : turnOffUnlessRequired(transaction, user, { event, demands })
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
  recoveryLockedUntil: null
} as const

/** Turns two-factor off, unless it is required under the demands that are in force when the transaction commits. */
export async function turnOffUnlessRequired(
  transaction: Transaction,
  user: LockedUser,
  { event, demands }: { event: SignedAuditEvent; demands: DemandsReader }
): Promise<'removed' | 'policy-requires-authenticator'> {
  await holdDemands(transaction, user.accountId)
  const inForce = await demands.read(transaction, user.accountId)
  if (isTwoFactorRequired({ ...inForce, now: event.occurredAt }))
    return 'policy-requires-authenticator'
  await forgetTwoFactor(transaction, user)
  await writeRecord(transaction, event, [noticeTo(user, event, 'two_factor_disabled', {})])
  return 'removed'
}

/**
 * Deletes all of a user's two-factor, including trusted devices and counted guesses, and revokes all earlier tokens.
 * The caller holds the lock on the user's row.
 */
export async function forgetTwoFactor(
  transaction: Transaction,
  { accountId, userId }: UserKey
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
      ...clearPaths
    }
  })
}
