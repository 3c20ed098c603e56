import type { SignedAuditEvent } from '../../core/audit/events.ts'
import type { Scope } from '../../core/bearer-keys.ts'
import { type Page, type PageRequest, pageOf } from '../../core/lists/pages.ts'
import type { PrismaClient } from '../../generated/prisma/client.ts'
import { writeRecord } from '../trail/act-records.ts'

export interface ApiKey {
  accountId: string
  id: string
  name: string
  scopes: Scope[]
  createdAt: Date
  expiresAt: Date | null
  lastUsedAt: Date | null
}

export interface NewApiKey {
  accountId: string
  id: string
  secretHash: Uint8Array<ArrayBuffer>
  name: string
  scopes: Scope[]
  createdAt: Date
  expiresAt: Date | null
}

/** How stale `lastUsedAt` may get: one write a minute is enough to see whether a key is in use. */
const LAST_USED_PRECISION_SECONDS = 60

export type ApiKeys = ReturnType<typeof createApiKeys>

export function createApiKeys(prisma: PrismaClient) {
  return {
    create(apiKey: NewApiKey, event: SignedAuditEvent): Promise<ApiKey> {
      return prisma.$transaction(async (transaction) => {
        const created = await transaction.apiKey.create({
          data: apiKey,
          omit: { secretHash: true }
        })
        await writeRecord(transaction, event)
        return asApiKey(created)
      })
    },

    /** With the hash, for the one place that compares it. Null: no such key. */
    async findWithHash(id: string): Promise<(ApiKey & { secretHash: Uint8Array }) | null> {
      const row = await prisma.apiKey.findUnique({ where: { id } })
      return row && asApiKey(row)
    },

    /** Of one account, or of all for the operator (null). Ordered by id, which is random: no order but a stable one. */
    async list(accountId: string | null, { limit, after }: PageRequest): Promise<Page<ApiKey>> {
      const rows = await prisma.apiKey.findMany({
        where: { ...(accountId ? { accountId } : {}), ...(after ? { id: { gt: after } } : {}) },
        orderBy: { id: 'asc' },
        take: limit + 1,
        omit: { secretHash: true }
      })
      return pageOf(rows.map(asApiKey), limit)
    },

    /** Of one account, or of any for the operator (null). Null: no such key. */
    async findAccountOf(accountId: string | null, id: string): Promise<string | null> {
      const key = await prisma.apiKey.findFirst({
        where: { ...(accountId ? { accountId } : {}), id },
        select: { accountId: true }
      })
      return key?.accountId ?? null
    },

    /** False: no such key. */
    revoke(accountId: string, id: string, event: SignedAuditEvent): Promise<boolean> {
      return prisma.$transaction(async (transaction) => {
        const revoked = await transaction.apiKey.deleteMany({ where: { accountId, id } })
        if (revoked.count === 0) return false
        await writeRecord(transaction, event)
        return true
      })
    },

    /** Notes that the key was used, to the minute. */
    async noteUse({ accountId, id }: Pick<ApiKey, 'accountId' | 'id'>, now: Date): Promise<void> {
      const stale = new Date(now.getTime() - LAST_USED_PRECISION_SECONDS * 1000)
      await prisma.apiKey.updateMany({
        where: { accountId, id, OR: [{ lastUsedAt: null }, { lastUsedAt: { lt: stale } }] },
        data: { lastUsedAt: now }
      })
    }
  }
}

/** Scopes are a text array in the database; only `create` writes it, from the typed list. */
function asApiKey<Row extends { scopes: string[] }>(row: Row): Row & { scopes: Scope[] } {
  return { ...row, scopes: row.scopes as Scope[] }
}
