// Back to the state before the first set-up: what an admin or the support does when a phone is lost.
import { isClosed } from '../../core/attempts.ts'
import type { SignedAuditEvent } from '../../core/audit/events.ts'
import { type Notice, noticeTo } from '../../core/mail/notices.ts'
import type { Demands } from '../../core/policy.ts'
import { Prisma, type PrismaClient } from '../../generated/prisma/client.ts'
import { readDemands } from '../policy/demands.ts'
import type { UserKey } from '../sign-in/subjects.ts'
import { type Transaction, writeRecord } from '../trail/act-records.ts'
import { insertNoticeToEach } from '../trail/outbox.ts'
import { forgetTwoFactor, type LockedUser } from './two-factor.ts'

export type ResetOutcome =
  | { isReset: true; demands: Demands }
  | { isReset: false; reason: 'user-not-found' | 'nothing-to-reset' }

export type Resets = ReturnType<typeof createResets>

/** `mandateFrom` is the deployment's own mandate; null for none. */
export function createResets(prisma: PrismaClient, mandateFrom: Date | null) {
  return {
    /** The account of a user, for the operator alone, who knows no account. Null: no such user anywhere. */
    async findAccountOf(userId: string): Promise<string | null> {
      const user = await prisma.user.findFirst({
        where: { id: userId },
        select: { accountId: true }
      })
      return user?.accountId ?? null
    },

    /**
     * Removes authenticators, the pending enrolment, recovery codes and trusted devices, opens what is locked and
     * raises the epoch, so that every earlier token is dead; tells the user, and after a support reset every admin.
     */
    reset(key: UserKey, event: SignedAuditEvent): Promise<ResetOutcome> {
      return prisma.$transaction(async (transaction) => {
        // The lock comes first: what a confirmation under way has added is seen by what follows, and nothing comes after.
        const user = await lockUser(transaction, key)
        if (!user) return { isReset: false, reason: 'user-not-found' }
        const now = event.occurredAt
        const isAnything = isLocked(user, now) || (await hasAnything(transaction, key, now))
        if (!isAnything) return { isReset: false, reason: 'nothing-to-reset' }
        await forgetTwoFactor(transaction, key)
        await writeRecord(transaction, event, [noticeOfReset(user, event)])
        if (event.actor.kind === 'operator') await tellAdmins(transaction, user, event)
        const demands = await readDemands(transaction, key.accountId, mandateFrom)
        return { isReset: true, demands }
      })
    }
  }
}

interface UserToReset extends LockedUser {
  codeLockedUntil: Date | null
  codeDisabledAt: Date | null
  recoveryLockedUntil: Date | null
}

/** Holds the user's row until the transaction ends, whatever their state. Null: no such user in this account. */
async function lockUser(
  transaction: Transaction,
  { accountId, userId }: UserKey
): Promise<UserToReset | null> {
  const [user] = await transaction.$queryRaw<UserToReset[]>`
    SELECT "accountId", id AS "userId", email, "codeLockedUntil", "codeDisabledAt", "recoveryLockedUntil"
    FROM "User" WHERE "accountId" = ${accountId}::uuid AND id = ${userId}::uuid FOR UPDATE`
  return user ?? null
}

/** Whether one of the paths is locked or disabled now. */
function isLocked(
  { codeLockedUntil, codeDisabledAt, recoveryLockedUntil }: UserToReset,
  now: Date
): boolean {
  return (
    isClosed({ lockedUntil: codeLockedUntil, disabledAt: codeDisabledAt }, now) ||
    isClosed({ lockedUntil: recoveryLockedUntil, disabledAt: null }, now)
  )
}

/** Whether a reset would remove anything; an enrolment that has expired is nothing. */
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
    await transaction.trustedDevice.count({ where })
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

async function tellAdmins(
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
