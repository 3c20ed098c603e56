// What is demanded of an account's users: its own policy, and the operator's mandate above it.
import { type AccountPolicy, bindingMandate, type Demands } from '../../core/policy.ts'
import type { PrismaClient } from '../../generated/prisma/client.ts'
import type { Transaction } from '../trail/act-records.ts'

/** A policy as the database has it. */
export interface PolicyRow extends PolicyInstants {
  twoFactor: AccountPolicy['twoFactor']
  graceDays: number
  trustedDevicesAllowed: boolean
  trustedDeviceDays: number
  ssoMode: AccountPolicy['sso']['mode']
  ssoIssuer: string | null
  ssoClientId: string | null
}

export interface PolicyInstants {
  requiredFrom: Date | null
  requiredSince: Date | null
}

/** The instants apart, since JSON has none. */
export function asAccountPolicy(
  row: Omit<PolicyRow, keyof PolicyInstants>,
  { requiredFrom, requiredSince }: PolicyInstants
): AccountPolicy {
  return {
    twoFactor: row.twoFactor,
    requiredFrom,
    requiredSince,
    graceDays: row.graceDays,
    trustedDevices: { allowed: row.trustedDevicesAllowed, days: row.trustedDeviceDays },
    sso: { mode: row.ssoMode, issuer: row.ssoIssuer, clientId: row.ssoClientId }
  }
}

/** The demands as they are now; `mandateFrom` is the deployment's own mandate. Throws when there is no such account. */
export async function readDemands(
  client: PrismaClient | Transaction,
  accountId: string,
  mandateFrom: Date | null
): Promise<Demands> {
  const row = await client.policy.findUniqueOrThrow({
    where: { accountId },
    include: { account: { select: { mandate: true } } }
  })
  return {
    policy: asAccountPolicy(row, row),
    mandate: bindingMandate(row.account.mandate, mandateFrom)
  }
}

/**
 * Holds the demands as they are until the transaction ends: a change of the policy or of the mandate comes before it, or
 * sees what it has done, as when it looks for whom to tell.
 */
export async function holdDemands(transaction: Transaction, accountId: string): Promise<void> {
  await transaction.$queryRaw`SELECT 1 AS locked FROM "Policy" WHERE "accountId" = ${accountId}::uuid FOR SHARE`
}
