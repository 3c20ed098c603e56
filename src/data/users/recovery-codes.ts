import type { SignedAuditEvent } from '../../core/audit/events.ts'
import { noticeTo } from '../../core/mail/notices.ts'
import type { PrismaClient } from '../../generated/prisma/client.ts'
import type { Subject, UserKey } from '../sign-in/subjects.ts'
import { type Transaction, writeRecord } from '../trail/act-records.ts'

export type RecoveryCodes = ReturnType<typeof createRecoveryCodes>

export function createRecoveryCodes(prisma: PrismaClient) {
  return {
    /** Returns whether this is the hash of an unused recovery code of the user. */
    async isStored(
      { accountId, userId }: UserKey,
      hash: Uint8Array<ArrayBuffer>
    ): Promise<boolean> {
      return (await prisma.recoveryCode.count({ where: { accountId, userId, hash } })) > 0
    },

    /** Replaces all recovery codes. Returns false if the user was reset or disabled since they were read. */
    replaceAll(
      owner: Subject,
      hashes: Uint8Array<ArrayBuffer>[],
      event: SignedAuditEvent
    ): Promise<boolean> {
      const { accountId, userId, epoch } = owner
      return prisma.$transaction(async (transaction) => {
        const moved = await transaction.user.updateMany({
          where: { accountId, id: userId, epoch, disabledAt: null },
          data: { codePathVersion: { increment: 1 } }
        })
        if (moved.count === 0) return false
        await replaceCodes(transaction, owner, hashes)
        await writeRecord(transaction, event, [
          noticeTo(owner, event, 'recovery_codes_regenerated', {})
        ])
        return true
      })
    }
  }
}

/** Replaces all recovery codes. The caller holds the lock on the user's row. */
export async function replaceCodes(
  transaction: Transaction,
  { accountId, userId }: UserKey,
  hashes: Uint8Array<ArrayBuffer>[]
): Promise<void> {
  await transaction.recoveryCode.deleteMany({ where: { accountId, userId } })
  await transaction.recoveryCode.createMany({
    data: hashes.map((hash) => ({ accountId, userId, hash }))
  })
}
