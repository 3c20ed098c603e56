// Resets a user's two-factor. An admin or the support does this after the loss of a phone. A user who had two-factor, or
// must have it, sets it up again at the next sign-in: a reset never leaves the password alone.
import { isClosed } from '../../core/attempts.ts'
import type { SignedAuditEvent } from '../../core/audit/events.ts'
import { type Notice, noticeTo } from '../../core/mail/notices.ts'
import { type BoundUser, type Demands, isTwoFactorRequiredOf } from '../../core/policy.ts'
import { requirementOf } from '../../core/two-factor/requirements.ts'
import type { PrismaClient } from '../../generated/prisma/client.ts'
import type { DemandsReader } from '../policy/demands.ts'
import { forgetSsoIdentities } from '../sign-in/sso-identities.ts'
import type { UserKey } from '../sign-in/subjects.ts'
import {
  type LockedUser,
  lockTarget,
  type Owner,
  type TargetRefusal
} from '../sign-in/user-lock.ts'
import { type Transaction, writeRecord } from '../trail/act-records.ts'
import { notifyAdmins } from '../trail/admin-notices.ts'
import { forgetTwoFactor } from './two-factor.ts'

/** What decides the next sign-in of a user who was reset. */
export interface ResetUser extends BoundUser {
  email: string
  demands: Demands
}

export type ResetOutcome =
  | { isReset: true; user: ResetUser }
  | { isReset: false; reason: TargetRefusal | 'nothing-to-reset' }

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
     * Removes authenticators, the pending enrollment, recovery codes, trusted devices and SSO identities, and opens
     * locked paths. Raises the epoch, which revokes all earlier tokens. Makes a new set-up necessary if the user had an authenticator,
     * or if two-factor is required of the user. Notifies the user and, after a support reset, every admin. `actor` is
     * the admin, or null.
     */
    reset(key: UserKey, actor: Owner | null, event: SignedAuditEvent): Promise<ResetOutcome> {
      return prisma.$transaction(async (transaction) => {
        // The lock comes first. The reset then sees everything that a concurrent confirmation added, and none can
        // follow.
        const user = await lockTarget(transaction, key, actor)
        if (typeof user === 'string') return { isReset: false, reason: user }
        const now = event.occurredAt
        const found = await countRows(transaction, key, now)
        const isAnything = isLocked(user, now) || Object.values(found).some((count) => count > 0)
        if (!isAnything) return { isReset: false, reason: 'nothing-to-reset' }
        const inForce = await demands.read(transaction, key.accountId)
        const isEnrolled = found.authenticators > 0
        const before = { role: user.role, requirement: requirementOf(user, isEnrolled) }
        const mustSetUp =
          isEnrolled ||
          isTwoFactorRequiredOf(before, inForce, await demands.laterNow(transaction, now))
        const after = { ...user, resetPendingSince: mustSetUp ? now : null }
        const { resetPendingSince } = after
        await forgetTwoFactor(transaction, key, { resetPendingSince })
        await forgetSsoIdentities(transaction, key)
        await writeRecord(transaction, event, [noticeOfReset(user, event)])
        if (event.actor.kind === 'operator') {
          const details = { ticket: event.ticket ?? '', user: user.email }
          await notifyAdmins(transaction, event, 'support_reset_of_user', details, user.userId)
        }
        const { role, email } = user
        const requirement = requirementOf(after, false)
        return { isReset: true, user: { role, email, requirement, demands: inForce } }
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

/** Counts the rows that a reset removes. An expired enrollment does not count. */
async function countRows(transaction: Transaction, { accountId, userId }: UserKey, now: Date) {
  const where = { accountId, userId }
  return {
    authenticators: await transaction.authenticator.count({ where }),
    enrollments: await transaction.enrollment.count({
      where: { ...where, expiresAt: { gt: now } }
    }),
    recoveryCodes: await transaction.recoveryCode.count({ where }),
    devices: await transaction.trustedDevice.count({ where }),
    ssoIdentities: await transaction.ssoIdentity.count({ where })
  }
}

function noticeOfReset(user: LockedUser, event: SignedAuditEvent): Notice {
  const { kind } = event.actor
  if (kind === 'operator') {
    return noticeTo(user, event, 'support_reset', { ticket: event.ticket ?? '' })
  }
  return noticeTo(user, event, 'two_factor_reset', { by: kind === 'api_key' ? kind : 'admin' })
}
