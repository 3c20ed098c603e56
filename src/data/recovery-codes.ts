import type { PrismaClient } from '../generated/prisma/client.ts'
import type { UserKey } from './subjects.ts'

export type RecoveryCodes = ReturnType<typeof createRecoveryCodes>

export function createRecoveryCodes(prisma: PrismaClient) {
  return {
    /** Which of these hashes is a code of the user's that is still good; null for none. */
    async findStored(
      { accountId, userId }: UserKey,
      candidates: Uint8Array<ArrayBuffer>[]
    ): Promise<Uint8Array | null> {
      const stored = await prisma.recoveryCode.findFirst({
        where: { accountId, userId, hash: { in: candidates } },
        select: { hash: true }
      })
      return stored?.hash ?? null
    },

    /** Puts new codes in the place of all old ones. False: the user was reset or disabled since the read. */
    replaceAll(
      { accountId, userId, epoch }: UserKey & { epoch: number },
      hashes: Uint8Array<ArrayBuffer>[]
    ): Promise<boolean> {
      return prisma.$transaction(async (transaction) => {
        const moved = await transaction.user.updateMany({
          where: { accountId, id: userId, epoch, disabledAt: null },
          data: { codePathVersion: { increment: 1 } }
        })
        if (moved.count === 0) return false
        await transaction.recoveryCode.deleteMany({ where: { accountId, userId } })
        await transaction.recoveryCode.createMany({
          data: hashes.map((hash) => ({ accountId, userId, hash }))
        })
        return true
      })
    }
  }
}
