// What an account demands of its users, and what the operator demands above it.
import type { SignedAuditEvent } from '../../core/audit/events.ts'
import type { NoticeKind } from '../../core/mail/notices.ts'
import {
  type AccountPolicy,
  type Demands,
  enforcedFrom,
  isDeviceTrustKept,
  type Mandate
} from '../../core/policy.ts'
import { Prisma, type PrismaClient } from '../../generated/prisma/client.ts'
import { type Transaction, writeRecord } from '../trail/act-records.ts'
import { insertNoticeToEach } from '../trail/outbox.ts'
import { type PolicyRow, readDemands } from './demands.ts'

/** An account's policy at one version, under the mandate that binds the account. */
export interface StoredPolicy extends Demands {
  accountId: string
  version: number
  updatedAt: Date
}

/** How a policy would change what users meet at their next sign-in. */
export interface Reach {
  wouldEnroll: number
  exempt: number
  unaffected: number
  /** The first of those who would have to enrol, oldest first. */
  sample: { id: string; email: string }[]
}

const SAMPLE_MAX = 10
const KIND = 'two_factor_required' satisfies NoticeKind

const HAS_AUTHENTICATOR = Prisma.sql`EXISTS (SELECT FROM "Authenticator" x
  WHERE x."accountId" = u."accountId" AND x."userId" = u.id)`

export type Policies = ReturnType<typeof createPolicies>

/** `mandateFrom` is the deployment's own mandate; null for none. */
export function createPolicies(prisma: PrismaClient, mandateFrom: Date | null) {
  async function read(client: PrismaClient | Transaction, accountId: string) {
    const { version, updatedAt } = await client.policy.findUniqueOrThrow({ where: { accountId } })
    const demands = await readDemands(client, accountId, mandateFrom)
    return { accountId, version, updatedAt, ...demands } satisfies StoredPolicy
  }

  return {
    /** Throws when the account has none, which its creation rules out. */
    find: (accountId: string): Promise<StoredPolicy> => read(prisma, accountId),

    /**
     * Puts a policy in the place of the one that was read. Whoever is to enrol from another date on is told, and trust
     * in devices that the policy no longer gives ends. Null: somebody changed the policy since.
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
        const after = await read(transaction, accountId)
        // Of a mandate that came since, whoever set it has told.
        const was = { ...before, mandate: after.mandate }
        await tellWhoIsToEnroll(transaction, was, after, event)
        return after
      })
    },

    /** Sets or lifts (null) the operator's mandate. Null: no such account. */
    mandate(
      accountId: string,
      mandate: Pick<Mandate, 'requiredFrom' | 'reason'> | null,
      event: SignedAuditEvent
    ): Promise<StoredPolicy | null> {
      return prisma.$transaction(async (transaction) => {
        // The lock makes changes of the demands take turns, each telling of what it has changed.
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
        await tellWhoIsToEnroll(transaction, before, after, event)
        return after
      })
    },

    /** What users of the account would meet under these demands. */
    async reach(accountId: string, demands: Demands): Promise<Reach> {
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

/** Whose sign-in needs no code because of single sign-on: everybody's, where there is no other; else of who has used it. */
export function isExemptFrom({ sso }: AccountPolicy): Prisma.Sql {
  if (sso.mode === 'off') return Prisma.sql`FALSE`
  if (sso.mode === 'required') return Prisma.sql`TRUE`
  return Prisma.sql`EXISTS (SELECT FROM "SsoIdentity" s
    WHERE s."accountId" = u."accountId" AND s."userId" = u.id
      AND s.issuer = ${sso.issuer} AND s."clientId" = ${sso.clientId})`
}

/** From when on people are held up, as they are told it: whatever is past is now. */
function heldUpFrom(demands: Demands, now: Date): Date | null {
  const from = enforcedFrom(demands)
  return from && from < now ? now : from
}

async function tellWhoIsToEnroll(
  transaction: Transaction,
  before: StoredPolicy,
  after: StoredPolicy,
  event: SignedAuditEvent
): Promise<void> {
  const [was, from] = [before, after].map((demands) => heldUpFrom(demands, event.occurredAt))
  if (from?.getTime() === was?.getTime()) return
  // Whoever turns it on and off and on fills the outbox once, and nobody reads of what no longer is, unless the mail
  // server is being told at this moment.
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

function asRow({ trustedDevices, sso, ...policy }: AccountPolicy): PolicyRow {
  return {
    ...policy,
    trustedDevicesAllowed: trustedDevices.allowed,
    trustedDeviceDays: trustedDevices.days,
    ssoMode: sso.mode,
    ssoIssuer: sso.issuer,
    ssoClientId: sso.clientId
  }
}
