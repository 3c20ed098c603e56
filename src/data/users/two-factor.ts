// All of one user's two-factor. Every change first locks the user's row, so that everything it reads afterwards stays
// true until the transaction ends.
import type { SignedAuditEvent } from '../../core/audit/events.ts'
import { noticeTo } from '../../core/mail/notices.ts'
import { isTwoFactorRequired } from '../../core/policy.ts'
import type { PrismaClient } from '../../generated/prisma/client.ts'
import { holdDemands, readDemands } from '../policy/demands.ts'
import type { UserKey } from '../sign-in/subjects.ts'
import { forgetDevices } from '../sign-in/trusted-devices.ts'
import { type Transaction, writeRecord } from '../trail/act-records.ts'

/** A user who acts for themself, with the epoch of their token. */
export interface Owner extends UserKey {
  epoch: number
}

export interface LockedUser extends UserKey {
  /** The address for notices. */
  email: string
}

/**
 * `invalid-credential`: the token was revoked after it was read, because the user was reset, disabled or deleted, or an
 * authenticator was changed.
 */
export type TurnOffOutcome = 'removed' | 'invalid-credential' | 'policy-requires-authenticator'

export type TwoFactor = ReturnType<typeof createTwoFactor>

/** Returns the data methods. `mandateFrom` is the deployment's own mandate; null for none. */
export function createTwoFactor(prisma: PrismaClient, mandateFrom: Date | null) {
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
          : turnOffUnlessRequired(transaction, user, { event, mandateFrom })
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

/**
 * Locks the user's row until the transaction ends. Returns null if they were deleted or disabled, or if their epoch has
 * changed.
 */
export async function lockOwner(
  transaction: Transaction,
  { accountId, userId, epoch }: Owner
): Promise<LockedUser | null> {
  const [user] = await transaction.$queryRaw<LockedUser[]>`
    SELECT "accountId", id AS "userId", email FROM "User"
    WHERE "accountId" = ${accountId}::uuid AND id = ${userId}::uuid
      AND epoch = ${epoch} AND "disabledAt" IS NULL
    FOR NO KEY UPDATE`
  return user ?? null
}

/** Turns two-factor off, unless it is required under the demands that are in force when the transaction commits. */
export async function turnOffUnlessRequired(
  transaction: Transaction,
  user: LockedUser,
  { event, mandateFrom }: { event: SignedAuditEvent; mandateFrom: Date | null }
): Promise<'removed' | 'policy-requires-authenticator'> {
  await holdDemands(transaction, user.accountId)
  const demands = await readDemands(transaction, user.accountId, mandateFrom)
  if (isTwoFactorRequired({ ...demands, now: event.occurredAt }))
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
