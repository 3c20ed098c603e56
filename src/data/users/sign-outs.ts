// Signing a user out everywhere: all tokens of the user are revoked.
import type { SignedAuditEvent } from '../../core/audit/events.ts'
import { noticeTo } from '../../core/mail/notices.ts'
import type { PrismaClient } from '../../generated/prisma/client.ts'
import type { UserKey } from '../sign-in/subjects.ts'
import { forgetDevices } from '../sign-in/trusted-devices.ts'
import { lockTarget, type Owner, type TargetRefusal } from '../sign-in/user-lock.ts'
import { writeRecord } from '../trail/act-records.ts'

export type SignOutOutcome = 'signed-out' | TargetRefusal

export type SignOuts = ReturnType<typeof createSignOuts>

export function createSignOuts(prisma: PrismaClient) {
  return {
    /**
     * Raises the user's epoch, which revokes all earlier tokens, and revokes the trusted devices if that is asked for.
     * `actor` is the user or an admin, or null for an API key. A user whom an admin signs out is notified. An API key
     * sends no mail: the back end knows whether the user asked for it.
     */
    signOut(
      key: UserKey,
      actor: Owner | null,
      mustForgetDevices: boolean,
      event: SignedAuditEvent
    ): Promise<SignOutOutcome> {
      const { accountId, userId } = key
      return prisma.$transaction(async (transaction) => {
        const user = await lockTarget(transaction, key, actor)
        if (typeof user === 'string') return user
        await transaction.user.updateMany({
          where: { accountId, id: userId },
          data: { epoch: { increment: 1 } }
        })
        if (mustForgetDevices) await forgetDevices(transaction, key)
        const isByAdmin = actor !== null && actor.userId !== userId
        const details = { devicesForgotten: mustForgetDevices }
        const notices = isByAdmin ? [noticeTo(user, event, 'signed_out', details)] : []
        await writeRecord(transaction, event, notices)
        return 'signed-out'
      })
    }
  }
}
