import type { SignedAuditEvent } from '../../core/audit/events.ts'
import { type Page, type PageRequest, pageOf } from '../../core/lists/pages.ts'
import type { Prisma } from '../../generated/prisma/client.ts'
import { isUniqueViolation } from '../engine/conflicts.ts'
import { type Clients, prepare, template } from '../engine/statements.ts'
import type { NamedAccount, SignInDoors } from '../sign-in/subject-rows.ts'
import { writeRecord } from '../trail/act-records.ts'
import { notifyAdmins } from '../trail/admin-notices.ts'
import { doOnce, type ResponseKeeper } from '../trail/stored-responses.ts'
import { type NewApiKey, newKeyRow } from './api-keys.ts'

export interface Account {
  id: string
  slug: string
  name: string
  audience: string
  /** The issuer that authenticator apps show; null: derived from the name. */
  issuerName: string | null
  supportUrl: string | null
  supportEmail: string | null
  createdAt: Date
}

const CHANGEABLE = ['name', 'audience', 'issuerName', 'supportUrl', 'supportEmail'] as const

export type AccountChange = Partial<Pick<Account, (typeof CHANGEABLE)[number]>>

type DoorsRow = { id: string } & SignInDoors

const bySlug = prepare(
  template<string>`
    SELECT a.id, p."ssoMode"::text AS mode, p."ssoIssuer" AS issuer, p."ssoClientId" AS "clientId",
      p."ssoTrustEmail" AS "trustEmail"
    FROM "Account" a JOIN "Policy" p ON p."accountId" = a.id WHERE a.slug = ${(slug) => slug}`
)

export type Accounts = ReturnType<typeof createAccounts>

export function createAccounts({ prisma, query }: Clients) {
  return {
    /**
     * Creates an account with its policy and its first API key in one transaction, which stores the response too.
     * Returns null if the slug is taken.
     */
    async create(
      account: Account,
      apiKey: Omit<NewApiKey, 'accountId'>,
      event: SignedAuditEvent,
      keeper: ResponseKeeper<Account> | null
    ): Promise<Account | null> {
      const data = {
        ...account,
        policy: { create: { updatedAt: account.createdAt } },
        apiKeys: { create: newKeyRow(apiKey) }
      }
      try {
        return await prisma.$transaction((transaction) =>
          doOnce(transaction, keeper, async () => {
            const created = await transaction.account.create({ data })
            await writeRecord(transaction, event)
            return created
          })
        )
      } catch (error) {
        if (isUniqueViolation(error, 'Account_slug_key')) return null
        throw error
      }
    },

    /** Returns null if the account does not exist. */
    find(id: string): Promise<Account | null> {
      return prisma.account.findUnique({ where: { id } })
    },

    /**
     * Finds the account that a user names at a sign-in through its identity provider. Returns null if it does not
     * exist. Runs the same single statement in both cases, so that the response time does not reveal which accounts
     * exist.
     */
    async findBySlug(slug: string): Promise<NamedAccount | null> {
      const [row] = await query<DoorsRow, string>(bySlug, slug)
      if (!row) return null
      const { id, ...sso } = row
      return { id, sso }
    },

    /** Returns a page of all accounts, oldest first: ids are UUIDv7, so their order is the order of creation. */
    async list({ limit, after }: PageRequest): Promise<Page<Account>> {
      const rows = await prisma.account.findMany({
        where: after ? { id: { gt: after } } : {},
        orderBy: { id: 'asc' },
        take: limit + 1
      })
      return pageOf(rows, limit)
    },

    /** Changes an account, and notifies its admins. Returns null if it does not exist. */
    change(id: string, change: AccountChange, event: SignedAuditEvent): Promise<Account | null> {
      const data: Prisma.AccountUpdateManyMutationInput = change
      return prisma.$transaction(async (transaction) => {
        // Locked, so that of two concurrent changes to the same value only one notifies the admins.
        await transaction.$queryRaw`SELECT 1 AS locked FROM "Account" WHERE id = ${id}::uuid FOR NO KEY UPDATE`
        const before = await transaction.account.findUnique({ where: { id } })
        const [account] = await transaction.account.updateManyAndReturn({ where: { id }, data })
        if (!before || !account) return null
        await writeRecord(transaction, event)
        const fields = CHANGEABLE.filter((field) => account[field] !== before[field])
        if (fields.length > 0) await notifyAdmins(transaction, event, 'account_changed', { fields })
        return account
      })
    }
  }
}
