// The links between users and their identities at the account's identity provider: how people and back ends see and change
// them. Sign-ins use and make links in data/sign-in/sso-identities.ts.
import type { SignedAuditEvent } from '../../core/audit/events.ts'
import { noticeTo, providerOf } from '../../core/mail/notices.ts'
import type { PrismaClient } from '../../generated/prisma/client.ts'
import { isUniqueViolation } from '../engine/conflicts.ts'
import { createLink } from '../sign-in/sso-identities.ts'
import { isUser, type UserKey } from '../sign-in/subjects.ts'
import {
  type Among,
  isBeyond,
  lockTarget,
  lockUser,
  type Owner,
  type TargetRefusal
} from '../sign-in/user-lock.ts'
import { type Transaction, writeRecord } from '../trail/act-records.ts'

export interface SsoIdentity {
  id: string
  issuer: string
  subject: string
  email: string | null
  createdAt: Date
  lastUsedAt: Date | null
}

export type RemoveLinkOutcome = 'removed' | TargetRefusal | 'sso-identity-not-found'

/** `sso-not-enabled`: the policy names no provider. `other-issuer`: it names another one. */
export type LinkOutcome =
  | { isLinked: true; identity: SsoIdentity }
  | {
      isLinked: false
      reason:
        | 'user-not-found'
        | 'insufficient-scope'
        | 'sso-not-enabled'
        | 'other-issuer'
        | 'sso-identity-taken'
    }

/** An identity that the back end knows. */
export interface KnownIdentity {
  subject: string
  /** Must be the issuer of the policy; null for any. */
  issuer: string | null
}

const SHOWN = {
  id: true,
  issuer: true,
  subject: true,
  email: true,
  createdAt: true,
  lastUsedAt: true
} as const

export type SsoLinks = ReturnType<typeof createSsoLinks>

export function createSsoLinks(prisma: PrismaClient) {
  return {
    /** Returns the user's identities, oldest first. Returns null if the user does not exist in this account. */
    async list({ accountId, userId }: UserKey): Promise<SsoIdentity[] | null> {
      if (!(await isUser(prisma, { accountId, userId }))) return null
      return prisma.ssoIdentity.findMany({
        where: { accountId, userId },
        select: SHOWN,
        orderBy: [{ createdAt: 'asc' }, { id: 'asc' }]
      })
    },

    /**
     * Removes a link, revokes all of the user's tokens, and notifies the user. `actor` is the user or an admin, whose token
     * and role must still be valid at the write; null for an API key.
     */
    remove(
      { accountId, userId }: UserKey,
      actor: Owner | null,
      id: string,
      event: SignedAuditEvent
    ): Promise<RemoveLinkOutcome> {
      return prisma.$transaction(async (transaction) => {
        const user = await lockTarget(transaction, { accountId, userId }, actor)
        if (typeof user === 'string') return user
        const where = { accountId, userId, id }
        const link = await transaction.ssoIdentity.findFirst({ where, select: SHOWN })
        if (!link) return 'sso-identity-not-found'
        await transaction.ssoIdentity.deleteMany({ where })
        await revokeTokens(transaction, user)
        const details = { provider: providerOf(link.issuer) }
        await writeRecord(transaction, event, [noticeTo(user, event, 'sso_unlinked', details)])
        return 'removed'
      })
    },

    /**
     * Links a user to an identity at the account's current provider and client, and notifies the user. A link to another
     * subject there is replaced, which revokes the user's tokens. Does nothing if the link exists.
     */
    async link(
      user: UserKey & { among: Among },
      identity: KnownIdentity,
      event: SignedAuditEvent
    ): Promise<LinkOutcome> {
      try {
        return await prisma.$transaction((transaction) => link(transaction, user, identity, event))
      } catch (error) {
        // The subject is linked to another user.
        if (!isUniqueViolation(error, 'SsoIdentity_pkey')) throw error
        return { isLinked: false, reason: 'sso-identity-taken' }
      }
    }
  }
}

async function link(
  transaction: Transaction,
  { accountId, userId, among }: UserKey & { among: Among },
  { subject, issuer: expected }: KnownIdentity,
  event: SignedAuditEvent
): Promise<LinkOutcome> {
  const user = await lockUser(transaction, { accountId, userId })
  if (!user) return { isLinked: false, reason: 'user-not-found' }
  if (isBeyond(among, user)) return { isLinked: false, reason: 'insufficient-scope' }
  const policy = await transaction.policy.findUniqueOrThrow({ where: { accountId } })
  const { ssoIssuer: issuer, ssoClientId: clientId } = policy
  if (!issuer || !clientId) return { isLinked: false, reason: 'sso-not-enabled' }
  if (expected !== null && expected !== issuer) return { isLinked: false, reason: 'other-issuer' }
  const client = { accountId, issuer, clientId }
  const former = await transaction.ssoIdentity.findFirst({ where: { ...client, userId } })
  if (former?.subject === subject) return { isLinked: true, identity: former }
  if (former) {
    await transaction.ssoIdentity.deleteMany({ where: { ...client, userId } })
    await revokeTokens(transaction, user)
  }
  const data = { ...client, subject, userId, email: null, lastUsedAt: null }
  const identity = await createLink(transaction, data, event.occurredAt)
  const details = { provider: providerOf(issuer) }
  await writeRecord(transaction, event, [noticeTo(user, event, 'sso_linked_by_others', details)])
  return { isLinked: true, identity }
}

async function revokeTokens(
  transaction: Transaction,
  { accountId, userId }: UserKey
): Promise<void> {
  await transaction.user.updateMany({
    where: { accountId, id: userId },
    data: { epoch: { increment: 1 } }
  })
}
