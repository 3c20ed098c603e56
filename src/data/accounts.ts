import { type Page, type PageRequest, pageOf } from '../core/pages.ts'
import type { Prisma, PrismaClient } from '../generated/prisma/client.ts'
import type { NewApiKey } from './api-keys.ts'
import { isUniqueViolation } from './conflicts.ts'

export interface Account {
  id: string
  slug: string
  name: string
  audience: string
  createdAt: Date
}

export interface AccountChange {
  name?: string
  audience?: string
}

export type Accounts = ReturnType<typeof createAccounts>

export function createAccounts(prisma: PrismaClient) {
  return {
    /** Makes an account with its policy and its first API key, all or nothing. Null: the slug is taken. */
    async create(account: Account, apiKey: Omit<NewApiKey, 'accountId'>): Promise<Account | null> {
      try {
        return await prisma.account.create({
          data: {
            ...account,
            policy: { create: { updatedAt: account.createdAt } },
            apiKeys: { create: apiKey }
          }
        })
      } catch (error) {
        if (isUniqueViolation(error, 'Account_slug_key')) return null
        throw error
      }
    },

    find(id: string): Promise<Account | null> {
      return prisma.account.findUnique({ where: { id } })
    },

    /** Oldest first: ids are UUIDv7, so their order is the order of creation. */
    async list({ limit, after }: PageRequest): Promise<Page<Account>> {
      const rows = await prisma.account.findMany({
        where: after ? { id: { gt: after } } : {},
        orderBy: { id: 'asc' },
        take: limit + 1
      })
      return pageOf(rows, limit)
    },

    /** Null: no such account. */
    async change(id: string, change: AccountChange): Promise<Account | null> {
      const data: Prisma.AccountUpdateManyMutationInput = change
      const [account] = await prisma.account.updateManyAndReturn({ where: { id }, data })
      return account ?? null
    }
  }
}
