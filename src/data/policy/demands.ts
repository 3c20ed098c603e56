// The demands on an account's users: the account's own policy, and the operator's mandate, which takes precedence.
import {
  type AccountPolicy,
  bindingMandate,
  type Demands,
  type Mandate
} from '../../core/policy.ts'
import type { AcceptedFactors } from '../../core/sessions.ts'
import { type Support, supportFor } from '../../core/support.ts'
import type { PrismaClient } from '../../generated/prisma/client.ts'
import { type DatabaseClock, filled, template } from '../engine/statements.ts'
import type { Transaction } from '../trail/act-records.ts'

/** A policy as it is stored. */
export interface PolicyRow extends PolicyInstants {
  twoFactor: AccountPolicy['twoFactor']
  appliesTo: AccountPolicy['appliesTo']
  graceDays: number
  trustedDevicesAllowed: boolean
  trustedDeviceDays: number
  ssoMode: AccountPolicy['sso']['mode']
  ssoIssuer: string | null
  ssoClientId: string | null
  ssoTrustEmail: boolean
}

export interface PolicyInstants {
  requiredFrom: Date | null
  requiredSince: Date | null
  ssoSince: Date | null
}

/** Builds a policy from its row. The instants are passed separately, because JSON has no instants. */
export function asAccountPolicy(
  row: Omit<PolicyRow, keyof PolicyInstants>,
  { requiredFrom, requiredSince, ssoSince }: PolicyInstants
): AccountPolicy {
  return {
    twoFactor: row.twoFactor,
    appliesTo: row.appliesTo,
    requiredFrom,
    requiredSince,
    graceDays: row.graceDays,
    trustedDevices: { allowed: row.trustedDevicesAllowed, days: row.trustedDeviceDays },
    sso: {
      mode: row.ssoMode,
      issuer: row.ssoIssuer,
      clientId: row.ssoClientId,
      trustEmail: row.ssoTrustEmail,
      since: ssoSince
    }
  }
}

export type DemandsReader = ReturnType<typeof createDemandsReader>

/** What the operator has set for every account of the deployment. */
export interface DeploymentDefaults {
  mandate: Pick<Mandate, 'requiredFrom' | 'reason'> | null
  /** The contact of accounts without their own. */
  support: Support | null
}

/** The contact of an account as it is stored. */
export interface SupportRow {
  supportUrl: string | null
  supportEmail: string | null
}

/** Creates the only reader of demands. */
export function createDemandsReader(
  { mandate, support }: DeploymentDefaults,
  clock: DatabaseClock
) {
  /** Returns the mandate that binds an account with this mandate of its own, or with none (null). */
  function mandateOf(ofAccount: Pick<Mandate, 'requiredFrom' | 'reason'> | null): Mandate | null {
    return bindingMandate(ofAccount, mandate)
  }

  /** Returns the contact for the users of an account; null if there is none. */
  function supportOf({ supportUrl: url, supportEmail: email }: SupportRow): Support | null {
    return supportFor({ url, email }, support)
  }

  return {
    mandateOf,
    supportOf,

    /**
     * Returns the later one of an instant of this replica and the time of the database. A date that the database has reached
     * then counts on every replica, also on one whose clock is behind.
     */
    async laterNow(transaction: Transaction, now: Date): Promise<Date> {
      const later = template`SELECT GREATEST(${() => now}::timestamptz, ${clock}) AS now`
      const [row] = await transaction.$queryRaw<{ now: Date }[]>(filled(later, null))
      return row?.now ?? now
    },

    /**
     * Returns the current demands on an account's users, and the contact that helps them. Throws if the account does not
     * exist.
     */
    async read(
      client: PrismaClient | Transaction,
      accountId: string
    ): Promise<Demands & { support: Support | null }> {
      const row = await client.policy.findUniqueOrThrow({
        where: { accountId },
        include: { account: { select: { mandate: true, supportUrl: true, supportEmail: true } } }
      })
      const { account } = row
      return {
        policy: asAccountPolicy(row, row),
        mandate: mandateOf(account.mandate),
        support: supportOf(account)
      }
    }
  }
}

/**
 * Locks the demands until the transaction ends. A change of the policy or of the mandate is committed before this
 * transaction, or sees its result, for example when it selects the users to notify.
 */
export async function holdDemands(transaction: Transaction, accountId: string): Promise<void> {
  await transaction.$queryRaw`SELECT 1 AS locked FROM "Policy" WHERE "accountId" = ${accountId}::uuid FOR SHARE`
}

/** Locks the policy like `holdDemands`, and returns what the account accepts as the first factor. */
export async function holdSingleSignOn(
  transaction: Transaction,
  accountId: string
): Promise<AcceptedFactors> {
  const [row] = await transaction.$queryRaw<AcceptedFactors[]>`
    SELECT "ssoMode"::text AS mode, "ssoIssuer" AS issuer
    FROM "Policy" WHERE "accountId" = ${accountId}::uuid FOR SHARE`
  if (!row) throw new Error('every account has a policy')
  return row
}
