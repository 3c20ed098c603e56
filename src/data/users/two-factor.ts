// Two-factor of one user as a whole. Whatever changes it takes the lock on the user's row first, so what is read after
// it stays true until the change is through.
import type { SignedAuditEvent } from '../../core/audit/events.ts'
import { noticeTo } from '../../core/mail/notices.ts'
import { isTwoFactorRequired } from '../../core/policy.ts'
import type { PrismaClient } from '../../generated/prisma/client.ts'
import { holdDemands, readDemands } from '../policy/demands.ts'
import type { UserKey } from '../sign-in/subjects.ts'
import { forgetDevices } from '../sign-in/trusted-devices.ts'
import { type Transaction, writeRecord } from '../trail/act-records.ts'

/** A user who acts for themself, of the epoch that their token has. */
export interface Owner extends UserKey {
  epoch: number
}

export interface LockedUser extends UserKey {
  /** Where their mail goes. */
  email: string
}

/** `dead-credential`: since the token was read, the user was reset, disabled or deleted, or an authenticator has changed. */
export type TurnOffOutcome = 'removed' | 'dead-credential' | 'policy-requires-authenticator'

export type TwoFactor = ReturnType<typeof createTwoFactor>

/** `mandateFrom` is the deployment's own mandate; null for none. */
export function createTwoFactor(prisma: PrismaClient, mandateFrom: Date | null) {
  return {
    /** Removes all that two-factor consists of and kills every token. Where it is off already, nothing happens. */
    turnOff(owner: Owner, event: SignedAuditEvent): Promise<TurnOffOutcome> {
      const { accountId, userId } = owner
      return prisma.$transaction(async (transaction) => {
        const user = await lockLiving(transaction, owner)
        if (!user) return 'dead-credential'
        const active = await transaction.authenticator.count({ where: { accountId, userId } })
        return active === 0
          ? 'removed'
          : turnOffUnlessRequired(transaction, user, { event, mandateFrom })
      })
    }
  }
}

/** Both paths as nobody has failed on them. Guesses at what is gone say nothing of what comes after it. */
export const clearPaths = {
  ...{ codeFailures: 0, codeLockedUntil: null, codeDisabledAt: null },
  ...{ recoveryFailures: 0, recoveryLockedUntil: null }
} as const

/** Holds the user's row until the transaction ends. Null: they are gone or disabled, or their epoch is another now. */
export async function lockLiving(
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

/** What the removal of the last authenticator comes to, by the demands that hold when it is through. */
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
 * Forgets all that a user's two-factor consists of, the trust in devices and the guesses at codes included, and kills
 * every token of before. Under the lock on the user's row.
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
