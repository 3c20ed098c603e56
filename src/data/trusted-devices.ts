// Browsers and phones whose owner is not asked for a code there.
import type { SignedAuditEvent } from '../core/audit.ts'
import { Prisma, type PrismaClient } from '../generated/prisma/client.ts'
import { insertEvent } from './audit-events.ts'
import { isUser, type UserKey } from './subjects.ts'

export interface TrustedDevice {
  id: string
  createdAt: Date
  lastUsedAt: Date | null
  expiresAt: Date
}

export type RevokeOutcome = 'revoked' | 'user-not-found' | 'device-not-found'

export type TrustedDevices = ReturnType<typeof createTrustedDevices>

export function createTrustedDevices(prisma: PrismaClient) {
  return {
    /** Those that are still trusted, newest first. Null: no such user in this account. */
    async list({ accountId, userId }: UserKey, now: Date): Promise<TrustedDevice[] | null> {
      if (!(await isUser(prisma, { accountId, userId }))) return null
      return prisma.trustedDevice.findMany({
        where: { accountId, userId, expiresAt: { gt: now } },
        omit: { accountId: true, userId: true },
        orderBy: [{ createdAt: 'desc' }, { id: 'desc' }]
      })
    },

    /** Ends the trust in a device. No guard but the key: it only ever takes trust away. */
    async revoke(
      { accountId, userId }: UserKey,
      id: string,
      event: SignedAuditEvent
    ): Promise<RevokeOutcome> {
      const [row] = await prisma.$queryRaw<{ isRevoked: boolean }[]>(Prisma.sql`
        WITH revoked AS (
          DELETE FROM "TrustedDevice"
          WHERE "accountId" = ${accountId}::uuid AND "userId" = ${userId}::uuid AND id = ${id}::uuid
            AND "expiresAt" > ${event.occurredAt}::timestamptz
          RETURNING id
        ), recorded AS (${insertEvent(event, 'revoked')})
        SELECT EXISTS (SELECT 1 FROM revoked) AS "isRevoked"`)
      if (row?.isRevoked) return 'revoked'
      return (await isUser(prisma, { accountId, userId })) ? 'device-not-found' : 'user-not-found'
    }
  }
}
