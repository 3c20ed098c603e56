import type { SignedAuditEvent } from '../../core/audit/events.ts'
import { type Page, type PageRequest, pageOf } from '../../core/lists/pages.ts'
import type { AccountPolicy } from '../../core/policy.ts'
import type { Prisma } from '../../generated/prisma/client.ts'
import { isUniqueViolation } from '../engine/conflicts.ts'
import { type Clients, prepare, template } from '../engine/statements.ts'
import type { NamedAccount } from '../sign-in/subject-rows.ts'
import { writeRecord } from '../trail/act-records.ts'
import type { NewApiKey } from './api-keys.ts'

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

type DoorsRow = { id: string } & AccountPolicy['sso']

const bySlug = prepare(
  template<string>`
    SELECT a.id, p."ssoMode"::text AS mode, p."ssoIssuer" AS issuer, p."ssoClientId" AS "clientId"
    FROM "Account" a JOIN "Policy" p ON p."accountId" = a.id WHERE a.slug = ${(slug) => slug}`
)

export type Accounts = ReturnType<typeof createAccounts>

export function createAccounts({ prisma, query }: Clients) {
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

    /**
     * The account that people name when they sign in through its provider. Null: no such account. One statement, whether
     * there is one or not, so that the time tells nothing.
     */
    async findBySlug(slug: string): Promise<NamedAccount | null> {
      const [row] = await query<DoorsRow, string>(bySlug, slug)
      if (!row) return null
      const { id, ...sso } = row
      return { id, sso }
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
