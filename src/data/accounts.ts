import type { SignedAuditEvent } from '../core/audit.ts'
import { type Page, type PageRequest, pageOf } from '../core/pages.ts'
import type { Prisma, PrismaClient } from '../generated/prisma/client.ts'
import { writeRecord } from './act-records.ts'
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
    async create(
      account: Account,
      apiKey: Omit<NewApiKey, 'accountId'>,
      event: SignedAuditEvent
    ): Promise<Account | null> {
      const data = {
        ...account,
        policy: { create: { updatedAt: account.createdAt } },
        apiKeys: { create: apiKey }
      }
      try {
        return await prisma.$transaction(async (transaction) => {
          const created = await transaction.account.create({ data })
          await writeRecord(transaction, event)
          return created
        })
      } catch (error) {
        if (isUniqueViolation(error, 'Account_slug_key')) return null
        throw error
      }
    },

    find(id: string): Promise<Account | null> {
      return prisma.account.findUnique({ where: { id } })
    },

    /** The account that people name when they sign in. Null: no such account. */
    findBySlug(slug: string): Promise<Account | null> {
      return prisma.account.findUnique({ where: { slug } })
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
    change(id: string, change: AccountChange, event: SignedAuditEvent): Promise<Account | null> {
      const data: Prisma.AccountUpdateManyMutationInput = change
      return prisma.$transaction(async (transaction) => {
        const [account] = await transaction.account.updateManyAndReturn({ where: { id }, data })
        if (!account) return null
        await writeRecord(transaction, event)
        return account
      })
    }
  }
}
