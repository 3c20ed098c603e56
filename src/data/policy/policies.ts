// Changes of an account's policy and of the operator's mandate, which takes precedence over it.
import type { SignedAuditEvent } from '../../core/audit/events.ts'
import { type NoticeKind, providerOf } from '../../core/mail/notices.ts'
import {
  type AccountPolicy,
  type Demands,
  enforcedFrom,
  isDeviceTrustKept,
  isSsoChanged,
  type Mandate,
  type SingleSignOn
} from '../../core/policy.ts'
import { Prisma, type PrismaClient } from '../../generated/prisma/client.ts'
import { type Transaction, writeRecord } from '../trail/act-records.ts'
import { insertNoticeToEach } from '../trail/outbox.ts'
import type { DemandsReader, PolicyRow } from './demands.ts'

/** An account's policy at one version, with the mandate that applies to the account. */
export interface StoredPolicy extends Demands {
  accountId: string
  version: number
  updatedAt: Date
}

/** The number of users for whom a policy would change the next sign-in. */
export interface Reach {
  wouldEnroll: number
  exempt: number
  unaffected: number
  /** The first users who would have to set up two-factor, oldest first. */
  sample: { id: string; email: string }[]
}

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
     * Replaces the policy that was read. Notifies the users for whom the date changes from which they must set up
     * two-factor, and all admins of a change of single sign-on. Revokes trusted devices that the new policy does not allow. Returns null if the policy was changed
     * since it was read.
     */
    replace(
      before: StoredPolicy,
      policy: AccountPolicy,
      event: SignedAuditEvent
    ): Promise<StoredPolicy | null> {
      const { accountId, version } = before
      return prisma.$transaction(async (transaction) => {
        const replaced = await transaction.policy.updateMany({
          where: { accountId, version },
          data: { ...asRow(policy), version: { increment: 1 }, updatedAt: event.occurredAt }
        })
        if (replaced.count === 0) return null
        await writeRecord(transaction, event)
        if (!isDeviceTrustKept(before.policy, policy)) {
          await transaction.trustedDevice.deleteMany({ where: { accountId } })
        }
        if (isSsoChanged(before.policy.sso, policy.sso)) {
          await notifyAdminsOfSso(transaction, accountId, policy.sso, event)
        }
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
        const after = await read(transaction, accountId)
        await notifyUsersToEnroll(transaction, before, after, event)
        return after
      })
    },

    /** Counts the account's users by the effect that these demands would have on them. */
    async countReach(accountId: string, demands: Demands): Promise<Reach> {
      const isDemanded = enforcedFrom(demands) !== null
      const exempt = isExemptFrom(demands.policy)
      const toEnroll = Prisma.sql`${isDemanded} AND NOT ${HAS_AUTHENTICATOR} AND NOT ${exempt}`
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

/**
 * Returns the instant from which users must set up two-factor, as the mail states it. An instant in the past becomes
 * `now`.
 */
function announcedFrom(demands: Demands, now: Date): Date | null {
  const from = enforcedFrom(demands)
  return from && from < now ? now : from
}

async function notifyUsersToEnroll(
  transaction: Transaction,
  before: StoredPolicy,
  after: StoredPolicy,
  event: SignedAuditEvent
): Promise<void> {
  const [was, from] = [before, after].map((demands) => announcedFrom(demands, event.occurredAt))
  if (from?.getTime() === was?.getTime()) return
  // If an admin turns the requirement on and off repeatedly, the outbox is filled only once. Outdated mails are not
  // sent, unless they are being delivered at this moment.
  await transaction.outboxMail.deleteMany({
    where: { accountId: after.accountId, kind: KIND, failedAt: null }
  })
  if (!from) return
  const toEnroll = {
    accountId: after.accountId,
    who: Prisma.sql`NOT ${HAS_AUTHENTICATOR} AND NOT ${isExemptFrom(after.policy)}`
  }
  const details = { from: from > event.occurredAt ? from.toISOString() : null }
  await transaction.$executeRaw(insertNoticeToEach(toEnroll, event, KIND, details))
}

/** A provider decides who signs in as any user, so the admins learn of every change, including the one who made it. */
async function notifyAdminsOfSso(
  transaction: Transaction,
  accountId: string,
  { mode, issuer, clientId, trustEmail }: SingleSignOn,
  event: SignedAuditEvent
): Promise<void> {
  const details = {
    mode,
    provider: issuer && providerOf(issuer),
    client: clientId,
    addresses: trustEmail ? ('trusted' as const) : ('verified' as const),
    by: event.actor.kind === 'api_key' ? event.actor.kind : ('admin' as const)
  }
  const admins = { accountId, who: Prisma.sql`u.role = 'admin'` }
  await transaction.$executeRaw(insertNoticeToEach(admins, event, 'sso_changed', details))
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
