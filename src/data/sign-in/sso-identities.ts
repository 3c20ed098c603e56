// Who a user is to their account's identity provider, and the ID tokens that have been used up.
import type { PrismaClient } from '../../generated/prisma/client.ts'
import { isUniqueViolation } from '../engine/conflicts.ts'
import { type ActRecord, type Transaction, writeRecord } from '../trail/act-records.ts'

/** Long enough for replicas whose clocks differ, short enough to keep the table small. */
const EXPIRED_KEPT_SECONDS = 60 * 60

/** A subject of a provider, as one client is told it: another client may be told another one (OpenID Connect Core §8.1). */
export interface SsoIdentityKey {
  accountId: string
  issuer: string
  clientId: string
  subject: string
}

interface IdTokenUse {
  hash: Uint8Array<ArrayBuffer>
  expiresAt: Date
}

/** A sign-in by an ID token, as it was judged. */
export interface SsoSignIn {
  userId: string
  identity: SsoIdentityKey
  /** The address that told who it is, where the identity was nobody's yet. */
  verifiedEmail: string | null
  idToken: IdTokenUse
  /** The notice is of the link, for the user's first time. */
  record: ActRecord
}

/**
 * `changed_meanwhile`: the user is disabled or gone, their address is another one, or the account's single sign-on is off
 * or with another client. `used_or_linked_otherwise`: the token was used before, or the user or the identity is linked to
 * another.
 */
export type SsoOutcome = 'signed_in' | 'changed_meanwhile' | 'used_or_linked_otherwise'

export type SsoIdentities = ReturnType<typeof createSsoIdentities>

export function createSsoIdentities(prisma: PrismaClient) {
  return {
    /** The user who is this to the provider; null: nobody yet. */
    async findUserId(identity: SsoIdentityKey): Promise<string | null> {
      const found = await prisma.ssoIdentity.findUnique({
        where: { accountId_issuer_clientId_subject: identity },
        select: { userId: true }
      })
      return found?.userId ?? null
    },

    /**
     * Signs a user in by an ID token: uses the token up, links the user to the identity at their first time and tells
     * them, and puts the sign-in on record; all of it, or nothing.
     */
    async signIn(signIn: SsoSignIn): Promise<SsoOutcome> {
      try {
        return await prisma.$transaction((transaction) => signInUnlessChanged(transaction, signIn))
      } catch (error) {
        // Another user was linked to the same identity at this moment.
        if (isUniqueViolation(error, 'SsoIdentity_pkey')) return 'used_or_linked_otherwise'
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

async function signInUnlessChanged(
  transaction: Transaction,
  { userId, identity, verifiedEmail, idToken, record }: SsoSignIn
): Promise<SsoOutcome> {
  const { subject, ...client } = identity
  const { accountId } = client
  const user = await lockAdmitted(transaction, userId, client)
  if (!user) return 'changed_meanwhile'
  const links = await transaction.ssoIdentity.findMany({
    where: { ...client, OR: [{ subject }, { userId }] }
  })
  const isFirstTime = links.length === 0
  if (isFirstTime && user.email !== verifiedEmail) return 'changed_meanwhile'
  const isOwn = links.every((link) => link.subject === subject && link.userId === userId)
  if (!isOwn || !(await useUp(transaction, accountId, idToken))) return 'used_or_linked_otherwise'
  const { event, notice } = record
  const now = event.occurredAt
  if (isFirstTime) {
    await transaction.ssoIdentity.create({ data: { ...identity, userId, createdAt: now } })
  }
  await transaction.user.updateMany({
    where: { accountId, id: userId },
    data: { lastSignInAt: now }
  })
  await writeRecord(transaction, event, isFirstTime && notice ? [notice] : [])
  return 'signed_in'
}

/**
 * Holds the user's row until the transaction ends, so that their sign-ins take turns. Null: they are disabled or gone, or
 * the account's single sign-on is off, or with another client; asking the provider takes its time.
 */
async function lockAdmitted(
  transaction: Transaction,
  userId: string,
  { accountId, issuer, clientId }: Omit<SsoIdentityKey, 'subject'>
): Promise<{ email: string } | null> {
  const [user] = await transaction.$queryRaw<{ email: string }[]>`
    SELECT u.email FROM "User" u JOIN "Policy" p ON p."accountId" = u."accountId"
    WHERE u."accountId" = ${accountId}::uuid AND u.id = ${userId}::uuid AND u."disabledAt" IS NULL
      AND p."ssoMode" <> 'off' AND p."ssoIssuer" = ${issuer} AND p."ssoClientId" = ${clientId}
    FOR NO KEY UPDATE OF u`
  return user ?? null
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
