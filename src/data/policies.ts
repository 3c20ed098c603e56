import type { AccountPolicy } from '../core/policy.ts'
import type { PrismaClient } from '../generated/prisma/client.ts'

export interface Policy extends AccountPolicy {
  accountId: string
  version: number
  updatedAt: Date
}

export interface PolicyKey {
  accountId: string
  /** The version that the change was made from. */
  version: number
}

export type Policies = ReturnType<typeof createPolicies>

export function createPolicies(prisma: PrismaClient) {
  return {
    /** Throws when the account has none, which its creation rules out. */
    find(accountId: string): Promise<Policy> {
      return prisma.policy.findUniqueOrThrow({ where: { accountId } })
    },

    /** Null: somebody changed the policy since that version. */
    async changeFrom(
      { accountId, version }: PolicyKey,
      change: Partial<AccountPolicy>,
      now: Date
    ): Promise<Policy | null> {
      const [policy] = await prisma.policy.updateManyAndReturn({
        where: { accountId, version },
        data: { ...change, version: { increment: 1 }, updatedAt: now }
      })
      return policy ?? null
    }
  }
}
