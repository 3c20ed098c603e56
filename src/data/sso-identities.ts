// Who a user is to their account's identity provider, and the ID tokens that have been used up.
import type { SignedAuditEvent } from '../core/audit.ts'
import type { PrismaClient } from '../generated/prisma/client.ts'
import { type Transaction, writeRecord } from './act-records.ts'
import { isUniqueViolation } from './conflicts.ts'
import type { UserKey } from './subjects.ts'

/** Long enough for replicas whose clocks differ, short enough to keep the table small. */
const EXPIRED_KEPT_SECONDS = 60 * 60

export interface SsoIdentityKey {
  accountId: string
  issuer: string
  subject: string
}

export interface IdTokenUse {
  hash: Uint8Array<ArrayBuffer>
  expiresAt: Date
}

export type SsoIdentities = ReturnType<typeof createSsoIdentities>

export function createSsoIdentities(prisma: PrismaClient) {
  return {
    /** The user who is this to the provider; null: nobody yet. */
    async findUserId(identity: SsoIdentityKey): Promise<string | null> {
      const found = await prisma.ssoIdentity.findUnique({
        where: { accountId_issuer_subject: identity },
        select: { userId: true }
      })
      return found?.userId ?? null
    },

    /**
     * Signs a user in by an ID token: uses the token up, links the user to the identity at their first time, and puts
     * the sign-in on record, all or nothing. False: the token was used before, the user is disabled or gone, or the
     * user or the identity is linked to another.
     */
    async signIn(
      { accountId, userId }: UserKey,
      identity: SsoIdentityKey,
      { idToken, event }: { idToken: IdTokenUse; event: SignedAuditEvent }
    ): Promise<boolean> {
      const { issuer, subject } = identity
      try {
        return await prisma.$transaction(async (transaction) => {
          if (!(await lockEnabled(transaction, { accountId, userId }))) return false
          const links = await transaction.ssoIdentity.findMany({
            where: { accountId, issuer, OR: [{ subject }, { userId }] }
          })
          const isOwn = links.every((link) => link.subject === subject && link.userId === userId)
          if (!isOwn || !(await useUp(transaction, accountId, idToken))) return false
          const now = event.occurredAt
          if (links.length === 0) {
            await transaction.ssoIdentity.create({ data: { ...identity, userId, createdAt: now } })
          }
          await transaction.user.updateMany({
            where: { accountId, id: userId },
            data: { lastSignInAt: now }
          })
          await writeRecord(transaction, event)
          return true
        })
      } catch (error) {
        // Another user was linked to the same identity at this moment.
        if (isUniqueViolation(error, 'SsoIdentity_pkey')) return false
        throw error
      }
    },

    /** Forgets used ID tokens that expired an hour ago, on any replica's clock. Answers how many. */
    async forgetExpiredIdTokens(now: Date): Promise<number> {
      const before = new Date(now.getTime() - EXPIRED_KEPT_SECONDS * 1000)
      const forgotten = await prisma.usedIdToken.deleteMany({
        where: { expiresAt: { lt: before } }
      })
      return forgotten.count
    }
  }
}

/** Holds the user's row until the transaction ends, so that their sign-ins take turns. */
async function lockEnabled(
  transaction: Transaction,
  { accountId, userId }: UserKey
): Promise<boolean> {
  const locked = await transaction.$queryRaw<unknown[]>`
    SELECT 1 AS locked FROM "User"
    WHERE "accountId" = ${accountId}::uuid AND id = ${userId}::uuid AND "disabledAt" IS NULL
    FOR NO KEY UPDATE`
  return locked.length === 1
}

/** False: another sign-in has used the token. */
async function useUp(
  transaction: Transaction,
  accountId: string,
  idToken: IdTokenUse
): Promise<boolean> {
  const used = await transaction.usedIdToken.createMany({
    data: [{ accountId, ...idToken }],
    skipDuplicates: true
  })
  return used.count === 1
}
