// The identities of users at their account's identity provider, and the ID tokens that were used.
import type { PrismaClient } from '../../generated/prisma/client.ts'
import { isUniqueViolation } from '../engine/conflicts.ts'
import { type ActRecord, type Transaction, writeRecord } from '../trail/act-records.ts'
import { lockUser } from './user-lock.ts'

/**
 * How long expired ID tokens are kept. Long enough for replicas whose clocks differ, short enough to keep the table
 * small.
 */
const EXPIRED_KEPT_SECONDS = 60 * 60

/**
 * A provider's subject for one client. The provider may issue another subject to another client (OpenID Connect Core
 * §8.1).
 */
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

/** A sign-in by an ID token that was verified. */
export interface SsoSignIn {
  userId: string
  identity: SsoIdentityKey
  /** The address by which the user was found, if the identity was not linked yet. */
  verifiedEmail: string | null
  idToken: IdTokenUse
  /** The notice is about the link, and is sent at the user's first sign-in by this identity. */
  record: ActRecord
}

/**
 * `changed_meanwhile`: the user was disabled or deleted, their address was changed, or the account's single sign-on was
 * turned off or now has another client. `used_or_linked_otherwise`: the token was used already, or the user is linked
 * to another identity, or the identity to another user.
 */
export type SsoOutcome = 'signed_in' | 'changed_meanwhile' | 'used_or_linked_otherwise'

export type SsoIdentities = ReturnType<typeof createSsoIdentities>

export function createSsoIdentities(prisma: PrismaClient) {
  return {
    /** Returns the user who is linked to this identity, or null if it is not linked. */
    async findUserId(identity: SsoIdentityKey): Promise<string | null> {
      const found = await prisma.ssoIdentity.findUnique({
        where: { accountId_issuer_clientId_subject: identity },
        select: { userId: true }
      })
      return found?.userId ?? null
    },

    /**
     * Records a sign-in by an ID token in one transaction. Marks the token as used and writes the audit event. At the
     * first sign-in, also links the user to the identity and notifies them.
     */
    async signIn(signIn: SsoSignIn): Promise<SsoOutcome> {
      try {
        return await prisma.$transaction((transaction) => signInUnlessChanged(transaction, signIn))
      } catch (error) {
        // Another transaction linked another user to the same identity at the same time.
        if (isUniqueViolation(error, 'SsoIdentity_pkey')) return 'used_or_linked_otherwise'
        throw error
      }
    },

    /**
     * Deletes used ID tokens that expired more than an hour ago, the tolerance for clocks that differ. Returns their
     * number.
     */
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
  // The user and the policy can change while the service waits for the provider.
  const user = await lockUser(transaction, { accountId, userId })
  if (!user || user.isDisabled) return 'changed_meanwhile'
  if (!(await isClientAdmitted(transaction, client))) return 'changed_meanwhile'
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

/** Returns whether the account's single sign-on is on with this client. */
async function isClientAdmitted(
  transaction: Transaction,
  { accountId, issuer, clientId }: Omit<SsoIdentityKey, 'subject'>
): Promise<boolean> {
  const admitted = await transaction.policy.count({
    where: { accountId, ssoIssuer: issuer, ssoClientId: clientId, ssoMode: { not: 'off' } }
  })
  return admitted === 1
}

/** Marks the token as used. Returns false if another sign-in has used it. */
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
