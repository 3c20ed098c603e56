// Changes of an account's policy and of the operator's mandate, which takes precedence over it.
import type { SignedAuditEvent } from '../../core/audit/events.ts'
import { actingRefusal, type Role } from '../../core/claims.ts'
import { type NoticeKind, providerOf } from '../../core/mail/notices.ts'
import { policyChanges } from '../../core/mail/policy-changes.ts'
import {
  type AccountPolicy,
  type Demands,
  demandsOn,
  enforcedFrom,
  isDeviceTrustKept,
  type Mandate,
  type SingleSignOn
} from '../../core/policy.ts'
import { isSsoChanged } from '../../core/sso/providers.ts'
import type { Support } from '../../core/support.ts'
import { Prisma, type PrismaClient } from '../../generated/prisma/client.ts'
import { type Transaction, writeRecord } from '../trail/act-records.ts'
import { notifyAdmins } from '../trail/admin-notices.ts'
import { insertNoticeToEach } from '../trail/outbox.ts'
import type { DemandsReader, PolicyRow } from './demands.ts'

/** An account's policy at one version, with the mandate that applies to the account. */
export interface StoredPolicy extends Demands {
  accountId: string
  version: number
  updatedAt: Date
  /** The contact for the users of the account; null if there is none. */
  support: Support | null
}

/** The number of users for whom a policy would change the next sign-in. */
export interface Reach {
  wouldEnroll: number
  exempt: number
  unaffected: number
  /** The first users who would have to set up two-factor, oldest first. */
  sample: { id: string; email: string }[]
}

/** The admin who changes a policy, with the epoch of their token. */
interface PolicyActor {
  userId: string
  epoch: number
}

export type ActorRefusal = 'invalid-credential' | 'limited-access'

const SAMPLE_MAX = 10
const KIND = 'two_factor_required' satisfies NoticeKind

const HAS_AUTHENTICATOR = Prisma.sql`EXISTS (SELECT FROM "Authenticator" x
  WHERE x."accountId" = u."accountId" AND x."userId" = u.id)`

export type Policies = ReturnType<typeof createPolicies>

export function createPolicies(prisma: PrismaClient, demands: DemandsReader) {
  async function read(client: PrismaClient | Transaction, accountId: string) {
    const { version, updatedAt } = await client.policy.findUniqueOrThrow({ where: { accountId } })
    const inForce = await demands.read(client, accountId)
    return { accountId, version, updatedAt, ...inForce } satisfies StoredPolicy
  }

  return {
    /** Returns the account's policy. Throws if the account does not exist: each account is created with a policy. */
    find: (accountId: string): Promise<StoredPolicy> => read(prisma, accountId),

    /**
     * Replaces the policy that was read. Notifies the admins of the change, and the users for whom the date changes from
     * which they must set up two-factor. Revokes trusted devices that the new policy does not allow. `lost-race`: the policy
     * was changed since it was read. `actor` is the admin, whose token and role must still be valid at the write;
     * null for an API key.
     */
    replace(
      before: StoredPolicy,
      policy: AccountPolicy,
      actor: PolicyActor | null,
      event: SignedAuditEvent
    ): Promise<StoredPolicy | ActorRefusal | 'lost-race'> {
      const { accountId, version } = before
      return prisma.$transaction(async (transaction) => {
        const refusal = actor && (await refusalOf(transaction, accountId, actor))
        if (refusal) return refusal
        const replaced = await transaction.policy.updateMany({
          where: { accountId, version },
          data: { ...asRow(policy), version: { increment: 1 }, updatedAt: event.occurredAt }
        })
        if (replaced.count === 0) return 'lost-race'
        await writeRecord(transaction, event)
        if (!isDeviceTrustKept(before.policy, policy)) {
          await transaction.trustedDevice.deleteMany({ where: { accountId } })
        }
        await notifyAdminsOfChange(transaction, before, policy, event)
        const after = await read(transaction, accountId)
        // If a mandate was set since, the request that set it has notified the users.
        const was = { ...before, mandate: after.mandate }
        await notifyUsersToEnroll(transaction, was, after, event)
        return after
      })
    },

    /** Sets the operator's mandate, or lifts it (null). Returns null if the account does not exist. */
    setMandate(
      accountId: string,
      mandate: Pick<Mandate, 'requiredFrom' | 'reason'> | null,
      event: SignedAuditEvent
    ): Promise<StoredPolicy | null> {
      return prisma.$transaction(async (transaction) => {
        // The lock serialises changes of the demands, so that each notifies users of exactly its own change.
        const policy = await transaction.$queryRaw<unknown[]>`
          SELECT 1 AS locked FROM "Policy" WHERE "accountId" = ${accountId}::uuid FOR NO KEY UPDATE`
        if (policy.length === 0) return null
        const before = await read(transaction, accountId)
        await transaction.mandate.deleteMany({ where: { accountId } })
        if (mandate) {
          const data = { accountId, ...mandate, updatedAt: event.occurredAt }
          await transaction.mandate.create({ data })
        }
        await writeRecord(transaction, event)
        const { reason } = event
        const from = mandate?.requiredFrom.toISOString() ?? null
        await notifyAdmins(transaction, event, 'mandate_set', { from, reason })
        const after = await read(transaction, accountId)
        await notifyUsersToEnroll(transaction, before, after, event)
        return after
      })
    },

    /**
     * Counts the account's users by the effect that these demands would have on them. The requirements of single users
     * do not count, because no policy changes them.
     */
    async countReach(accountId: string, demands: Demands): Promise<Reach> {
      const bound = ROLES.filter((role) => enforcedFrom(demandsOn(role, demands)) !== null)
      const exempt = isExemptFrom(demands.policy)
      const toEnroll = Prisma.sql`${hasRole(bound)} AND NOT ${HAS_AUTHENTICATOR} AND NOT ${exempt}`
      const ofAccount = Prisma.sql`u."accountId" = ${accountId}::uuid AND u."disabledAt" IS NULL`
      const [counts] = await prisma.$queryRaw<Omit<Reach, 'sample'>[]>`
        SELECT (count(*) FILTER (WHERE ${toEnroll}))::int AS "wouldEnroll",
          (count(*) FILTER (WHERE ${exempt}))::int AS exempt,
          (count(*) FILTER (WHERE NOT ${exempt} AND NOT (${toEnroll})))::int AS unaffected
        FROM "User" u WHERE ${ofAccount}`
      const sample = await prisma.$queryRaw<Reach['sample']>`
        SELECT u.id, u.email FROM "User" u WHERE ${ofAccount} AND ${toEnroll}
        ORDER BY u.id LIMIT ${SAMPLE_MAX}`
      return { ...(counts ?? { wouldEnroll: 0, exempt: 0, unaffected: 0 }), sample }
    }
  }
}

/**
 * Returns the SQL condition for users who need no code because of single sign-on. If single sign-on is required, these
 * are all users. If it is optional, these are the users who have used it.
 */
export function isExemptFrom({ sso }: AccountPolicy): Prisma.Sql {
  if (sso.mode === 'off') return Prisma.sql`FALSE`
  if (sso.mode === 'required') return Prisma.sql`TRUE`
  return Prisma.sql`EXISTS (SELECT FROM "SsoIdentity" s
    WHERE s."accountId" = u."accountId" AND s."userId" = u.id
      AND s.issuer = ${sso.issuer} AND s."clientId" = ${sso.clientId})`
}

/** Notifies the admins of the members of the policy that the change gives another value. */
async function notifyAdminsOfChange(
  transaction: Transaction,
  { policy: before }: StoredPolicy,
  policy: AccountPolicy,
  event: SignedAuditEvent
): Promise<void> {
  const changes = policyChanges(before, policy)
  if (changes.length > 0) await notifyAdmins(transaction, event, 'policy_changed', { changes })
  if (isSsoChanged(before.sso, policy.sso)) {
    await notifyAdmins(transaction, event, 'sso_changed', asNotified(policy.sso))
  }
}

/** Locks the row of an admin until the transaction ends. Returns why the admin may not change the policy any more. */
async function refusalOf(
  transaction: Transaction,
  accountId: string,
  { userId, epoch }: PolicyActor
): Promise<ActorRefusal | null> {
  const [acting] = await transaction.$queryRaw<
    { role: Role; epoch: number; isDisabled: boolean }[]
  >`
    SELECT role::text AS role, epoch, "disabledAt" IS NOT NULL AS "isDisabled" FROM "User"
    WHERE "accountId" = ${accountId}::uuid AND id = ${userId}::uuid FOR SHARE`
  return actingRefusal(acting ?? null, { epoch, as: 'admin' })
}

const ROLES: readonly Role[] = ['member', 'admin']

/** Returns the SQL condition for users with one of these roles. */
function hasRole(roles: readonly Role[]): Prisma.Sql {
  return Prisma.sql`u.role::text = ANY (${[...roles]})`
}

/**
 * Returns the instant from which users of a role must set up two-factor, as the mail states it. An instant in the past
 * becomes `now`.
 */
function announcedFrom(role: Role, demands: Demands, now: Date): Date | null {
  const from = enforcedFrom(demandsOn(role, demands))
  return from && from < now ? now : from
}

/** Notifies the users of each role for which the date changes. A policy can be for admins only. */
async function notifyUsersToEnroll(
  transaction: Transaction,
  before: StoredPolicy,
  after: StoredPolicy,
  event: SignedAuditEvent
): Promise<void> {
  const changes = ROLES.map((role) => {
    const [was, from] = [before, after].map((one) => announcedFrom(role, one, event.occurredAt))
    return { role, from: from ?? null, isChanged: from?.getTime() !== was?.getTime() }
  })
  const changed = changes.filter(({ isChanged }) => isChanged)
  if (changed.length === 0) return
  const unchanged = changes.filter(({ isChanged }) => !isChanged).map(({ role }) => role)
  await removeOutdatedMails(transaction, after.accountId, unchanged)
  for (const { role, from } of changed) {
    if (from) await notifyRole(transaction, after, { role, from }, event)
  }
}

/**
 * Removes the waiting mails, except to users of the roles for which nothing changes. If an admin turns the requirement
 * on and off repeatedly, the outbox is filled only once. Outdated mails are not sent, unless they are being delivered at
 * this moment.
 */
async function removeOutdatedMails(
  transaction: Transaction,
  accountId: string,
  unchanged: readonly Role[]
): Promise<void> {
  await transaction.$executeRaw`
    DELETE FROM "OutboxMail" o
    WHERE o."accountId" = ${accountId}::uuid AND o.kind = ${KIND} AND o."failedAt" IS NULL
      AND NOT EXISTS (SELECT FROM "User" u
        WHERE u."accountId" = o."accountId" AND u.email = o.recipient AND ${hasRole(unchanged)})`
}

async function notifyRole(
  transaction: Transaction,
  { accountId, policy }: StoredPolicy,
  { role, from }: { role: Role; from: Date },
  event: SignedAuditEvent
): Promise<void> {
  const who = Prisma.sql`${hasRole([role])} AND NOT ${HAS_AUTHENTICATOR}
    AND NOT ${isExemptFrom(policy)}`
  const details = { from: from > event.occurredAt ? from.toISOString() : null }
  await transaction.$executeRaw(insertNoticeToEach({ accountId, who }, event, KIND, details))
}

/** Returns single sign-on as a notice states it. */
function asNotified({ mode, issuer, clientId, trustEmail }: SingleSignOn) {
  return {
    mode,
    provider: issuer && providerOf(issuer),
    client: clientId,
    addresses: trustEmail ? ('trusted' as const) : ('verified' as const)
  }
}

function asRow({ trustedDevices, sso, ...policy }: AccountPolicy): PolicyRow {
  return {
    ...policy,
    trustedDevicesAllowed: trustedDevices.allowed,
    trustedDeviceDays: trustedDevices.days,
    ssoMode: sso.mode,
    ssoIssuer: sso.issuer,
    ssoClientId: sso.clientId,
    ssoTrustEmail: sso.trustEmail,
    ssoSince: sso.since
  }
}
