import type { SignedAuditEvent } from '../core/audit.ts'
import type { NoticeKind } from '../core/notices.ts'
import { type AccountPolicy, isTwoFactorRequired } from '../core/policy.ts'
import { Prisma, type PrismaClient } from '../generated/prisma/client.ts'
import { writeRecord } from './act-records.ts'
import { insertNoticeToEach } from './outbox.ts'

export interface Policy extends AccountPolicy {
  accountId: string
  version: number
  updatedAt: Date
}

const isStillToEnroll = Prisma.sql`NOT EXISTS (SELECT 1 FROM "Authenticator" x
  WHERE x."accountId" = u."accountId" AND x."userId" = u.id)`

export type Policies = ReturnType<typeof createPolicies>

export function createPolicies(prisma: PrismaClient) {
  return {
    /** Throws when the account has none, which its creation rules out. */
    find(accountId: string): Promise<Policy> {
      return prisma.policy.findUniqueOrThrow({ where: { accountId } })
    },

    /**
     * Changes the policy as it was read. Where two-factor becomes everyone's duty, whoever is still to enrol is told.
     * Null: somebody changed the policy since.
     */
    changeFrom(
      before: Policy,
      change: Partial<AccountPolicy>,
      event: SignedAuditEvent
    ): Promise<Policy | null> {
      const { accountId, version } = before
      return prisma.$transaction(async (transaction) => {
        const [policy] = await transaction.policy.updateManyAndReturn({
          where: { accountId, version },
          data: { ...change, version: { increment: 1 }, updatedAt: event.occurredAt }
        })
        if (!policy) return null
        await writeRecord(transaction, event)
        if (isTwoFactorRequired(policy) !== isTwoFactorRequired(before)) {
          // Whoever turns it on and off and on fills the outbox once, and nobody reads of what no longer is.
          await transaction.outboxMail.deleteMany({
            where: { accountId, kind: 'two_factor_required' satisfies NoticeKind, tries: 0 }
          })
        }
        if (isTwoFactorRequired(policy) && !isTwoFactorRequired(before)) {
          const stillToEnroll = { accountId, who: isStillToEnroll }
          await transaction.$executeRaw(
            insertNoticeToEach(stillToEnroll, event, 'two_factor_required', { from: null })
          )
        }
        return policy
      })
    }
  }
}
