// The identities of users at their account's identity provider, and the ID tokens that were used.
import { needsLinkCode } from '../../core/sso/providers.ts'
import { generateId } from '../../crypto/ids.ts'
import type { PrismaClient } from '../../generated/prisma/client.ts'
import { isUniqueViolation } from '../engine/conflicts.ts'
import { type ActRecord, type Transaction, writeRecord } from '../trail/act-records.ts'
import { expiredBefore } from './expiry.ts'
import type { UserKey } from './subjects.ts'
import { type LockedUser, lockUser } from './user-lock.ts'

/**
 * How long expired ID tokens are kept. A replica whose clock is behind would accept a forgotten one again, so a day
 * allows for clocks that are wrong by hours.
 */
const EXPIRED_KEPT_SECONDS = 24 * 60 * 60

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
  /** The address in the token; null for none. */
  email: string | null
  /** The same address if it counts as verified. It identifies a user who is not linked yet. */
  verifiedEmail: string | null
  idToken: IdTokenUse
  /** The time of the sign-in. */
  now: Date
  /** Returns the records of a sign-in with this outcome. `isNew` says that it links the user. */
  recordOf(outcome: SsoAdmission, isNew: boolean): ActRecord
}

/** `code_required`: the identity is not linked yet, and links this user only with a code. */
export type SsoAdmission = 'signed_in' | 'code_required'

/**
 * `changed_meanwhile`: the user was disabled or deleted, their address was changed, or the account's single sign-on was
 * turned off or now has another client. `used_or_linked_otherwise`: the token was used already, or the user is linked
 * to another identity, or the identity to another user.
 */
export type SsoOutcome = SsoAdmission | 'changed_meanwhile' | 'used_or_linked_otherwise'

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
     * first sign-in, also links the user to the identity and notifies them, unless that needs a code.
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

    /** Deletes used ID tokens that expired more than a day ago. Returns their number. */
    async forgetExpiredIdTokens(now: Date): Promise<number> {
      return prisma.$executeRaw`
        DELETE FROM "UsedIdToken" WHERE ${expiredBefore(now, EXPIRED_KEPT_SECONDS)}`
    }
  }
}

async function signInUnlessChanged(
  transaction: Transaction,
  { userId, identity, email, verifiedEmail, idToken, now, recordOf }: SsoSignIn
): Promise<SsoOutcome> {
  const { subject, ...client } = identity
  const { accountId } = client
  // The user and the policy can change while the service waits for the provider.
  const user = await lockUser(transaction, { accountId, userId })
  if (!user || user.isDisabled) return 'changed_meanwhile'
  const provider = await findProvider(transaction, client)
  if (!provider) return 'changed_meanwhile'
  const links = await transaction.ssoIdentity.findMany({
    where: { ...client, OR: [{ subject }, { userId }] }
  })
  const [link = null] = links
  if (!link && user.email !== verifiedEmail) return 'changed_meanwhile'
  const isOwn = links.every((link) => link.subject === subject && link.userId === userId)
  if (!isOwn || !(await useUp(transaction, accountId, idToken))) return 'used_or_linked_otherwise'
  const outcome = await admissionOf(transaction, user, { link, provider, now })
  if (outcome === 'signed_in') {
    await (link
      ? transaction.ssoIdentity.updateMany({ where: identity, data: { lastUsedAt: now } })
      : createLink(transaction, { ...identity, userId, email, lastUsedAt: now }, now))
    await transaction.user.updateMany({
      where: { accountId, id: userId },
      data: { lastSignInAt: now }
    })
  }
  const { event, notice } = recordOf(outcome, !link)
  await writeRecord(transaction, event, notice ? [notice] : [])
  return outcome
}

interface Provider {
  /** Since when it can link users. */
  since: Date | null
}

interface StoredLink {
  lastUsedAt: Date | null
}

/** Returns whether the user may be admitted without a code. Only an identity that the back end has linked was never used. */
async function admissionOf(
  transaction: Transaction,
  { accountId, userId }: LockedUser,
  { link, provider, now }: { link: StoredLink | null; provider: Provider; now: Date }
): Promise<SsoAdmission> {
  if (link?.lastUsedAt) return 'signed_in'
  if (!needsLinkCode(provider, { isLinkedByBackEnd: link !== null, now })) return 'signed_in'
  const authenticators = await transaction.authenticator.count({ where: { accountId, userId } })
  return authenticators > 0 ? 'code_required' : 'signed_in'
}

interface NewLink extends SsoIdentityKey {
  userId: string
  email: string | null
  lastUsedAt: Date | null
}

/** Links a user to an identity. The caller holds the lock on the user's row. */
export async function createLink(transaction: Transaction, link: NewLink, createdAt: Date) {
  return transaction.ssoIdentity.create({ data: { ...link, id: generateId(), createdAt } })
}

/** Removes all links of a user. The caller holds the lock on the user's row and revokes their tokens. */
export async function forgetSsoIdentities(
  transaction: Transaction,
  { accountId, userId }: UserKey
): Promise<void> {
  await transaction.ssoIdentity.deleteMany({ where: { accountId, userId } })
}

/** Returns the account's identity provider, or null if its single sign-on is off or has another client. */
async function findProvider(
  transaction: Transaction,
  { accountId, issuer, clientId }: Omit<SsoIdentityKey, 'subject'>
): Promise<Provider | null> {
  const policy = await transaction.policy.findFirst({
    where: { accountId, ssoIssuer: issuer, ssoClientId: clientId, ssoMode: { not: 'off' } },
    select: { ssoSince: true }
  })
  return policy && { since: policy.ssoSince }
}

/** Marks the token as used. Returns false if another sign-in has used it, in this account or in another one. */
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
