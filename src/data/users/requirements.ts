// Two-factor that is required of one user, by the user or by an admin or API key of the account.
import type { SignedAuditEvent } from '../../core/audit/events.ts'
import { type Notice, noticeTo } from '../../core/mail/notices.ts'
import { changeRequirement, type Requirer } from '../../core/two-factor/requirements.ts'
import type { PrismaClient } from '../../generated/prisma/client.ts'
import type { UserKey } from '../sign-in/subjects.ts'
import {
  type LockedUser,
  lockTarget,
  type Owner,
  type TargetRefusal
} from '../sign-in/user-lock.ts'
import { writeRecord } from '../trail/act-records.ts'
import { findHeld, type RosterUser } from './roster.ts'

export type RequireOutcome = RosterUser | TargetRefusal | 'policy-requires-authenticator'

export type Requirements = ReturnType<typeof createRequirements>

export function createRequirements(prisma: PrismaClient) {
  return {
    /**
     * Requires two-factor of a user, or withdraws the requirement, and notifies the user. `actor` is the user or an
     * admin, or null for an API key, which counts as an admin. Writes nothing if it is so already. Returns the user as the
     * act leaves them.
     */
    require(
      key: UserKey,
      actor: Owner | null,
      required: boolean,
      event: SignedAuditEvent
    ): Promise<RequireOutcome> {
      const { accountId, userId } = key
      const as: Requirer = actor?.userId === userId ? 'self' : 'admin'
      return prisma.$transaction(async (transaction) => {
        const user = await lockTarget(transaction, key, actor)
        if (typeof user === 'string') return user
        const active = await transaction.authenticator.count({ where: { accountId, userId } })
        const asked = { required, as, now: event.occurredAt }
        const change = changeRequirement(user, active > 0, asked)
        if (change === 'policy-requires-authenticator') return change
        if (change === 'unchanged') return findHeld(transaction, key)
        await transaction.user.updateMany({ where: { accountId, id: userId }, data: change })
        await writeRecord(transaction, event, [noticeOf(user, as, required, event)])
        return findHeld(transaction, key)
      })
    }
  }
}

function noticeOf(
  user: LockedUser,
  as: Requirer,
  required: boolean,
  event: SignedAuditEvent
): Notice {
  const by = event.actor.kind === 'api_key' ? 'api_key' : as
  return required
    ? noticeTo(user, event, 'two_factor_required_of_user', { by })
    : noticeTo(user, event, 'two_factor_requirement_withdrawn', { by })
}
