// Resets a user to the state before the first set-up. An admin or the support does this after the loss of a phone.
import { isClosed } from '../../core/attempts.ts'
import type { SignedAuditEvent } from '../../core/audit/events.ts'
import { type Notice, noticeTo } from '../../core/mail/notices.ts'
import type { Demands } from '../../core/policy.ts'
import { Prisma, type PrismaClient } from '../../generated/prisma/client.ts'
import type { DemandsReader } from '../policy/demands.ts'
import { forgetSsoIdentities } from '../sign-in/sso-identities.ts'
import type { UserKey } from '../sign-in/subjects.ts'
import { type LockedUser, lockUser } from '../sign-in/user-lock.ts'
import { type Transaction, writeRecord } from '../trail/act-records.ts'
import { insertNoticeToEach } from '../trail/outbox.ts'
import { forgetTwoFactor } from './two-factor.ts'

export type ResetOutcome =
  | { isReset: true; demands: Demands }
  | { isReset: false; reason: 'user-not-found' | 'nothing-to-reset' }

export type Resets = ReturnType<typeof createResets>

export function createResets(prisma: PrismaClient, demands: DemandsReader) {
  return {
    /**
     * Returns the account of a user, or null if the user does not exist. Only for the operator, who does not know the
     * account.
     */
    async findAccountOf(userId: string): Promise<string | null> {
      const user = await prisma.user.findFirst({
        where: { id: userId },
        select: { accountId: true }
      })
      return user?.accountId ?? null
    },

    /**
     * Removes authenticators, the pending enrollment, recovery codes, trusted devices and SSO identities, and opens locked paths.
     * Raises the epoch, which revokes all earlier tokens. Notifies the user and, after a support reset, every admin.
     */
    reset(key: UserKey, event: SignedAuditEvent): Promise<ResetOutcome> {
      return prisma.$transaction(async (transaction) => {
        // The lock comes first. The reset then sees everything that a concurrent confirmation added, and none can
        // follow.
        const user = await lockUser(transaction, key)
        if (!user) return { isReset: false, reason: 'user-not-found' }
        const now = event.occurredAt
        const isAnything = isLocked(user, now) || (await hasAnything(transaction, key, now))
        if (!isAnything) return { isReset: false, reason: 'nothing-to-reset' }
        await forgetTwoFactor(transaction, key)
        await forgetSsoIdentities(transaction, key)
        await writeRecord(transaction, event, [noticeOfReset(user, event)])
        if (event.actor.kind === 'operator') await notifyAdmins(transaction, user, event)
        return { isReset: true, demands: await demands.read(transaction, key.accountId) }
      })
    }
  }
}

/** Returns whether one of the paths is locked or disabled at this instant. */
function isLocked(
  { codeLockedUntil, codeDisabledAt, recoveryLockedUntil }: LockedUser,
  now: Date
): boolean {
  return (
    isClosed({ lockedUntil: codeLockedUntil, disabledAt: codeDisabledAt }, now) ||
    isClosed({ lockedUntil: recoveryLockedUntil, disabledAt: null }, now)
  )
}

/** Returns whether a reset would remove anything. An expired enrollment does not count. */
async function hasAnything(
  transaction: Transaction,
  { accountId, userId }: UserKey,
  now: Date
): Promise<boolean> {
  const where = { accountId, userId }
  const counts = [
    await transaction.authenticator.count({ where }),
    await transaction.enrollment.count({ where: { ...where, expiresAt: { gt: now } } }),
    await transaction.recoveryCode.count({ where }),
    await transaction.trustedDevice.count({ where }),
    await transaction.ssoIdentity.count({ where })
  ]
  return counts.some((count) => count > 0)
}

function noticeOfReset(user: LockedUser, event: SignedAuditEvent): Notice {
  const { kind } = event.actor
  if (kind === 'operator') {
    return noticeTo(user, event, 'support_reset', { ticket: event.ticket ?? '' })
  }
  return noticeTo(user, event, 'two_factor_reset', { by: kind === 'api_key' ? kind : 'admin' })
}

async function notifyAdmins(
  transaction: Transaction,
  { accountId, userId, email: user }: LockedUser,
  event: SignedAuditEvent
): Promise<void> {
  const who = Prisma.sql`u.role = 'admin' AND u.id <> ${userId}::uuid`
  const details = { ticket: event.ticket ?? '', user }
  await transaction.$executeRaw(
    insertNoticeToEach({ accountId, who }, event, 'support_reset_of_user', details)
  )
}
