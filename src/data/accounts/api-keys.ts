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

/** `lastUsedAt` may be out of date by this time. One write per minute is enough to see whether a key is in use. */
const LAST_USED_PRECISION_SECONDS = 60

export type ApiKeys = ReturnType<typeof createApiKeys>

export function createApiKeys(prisma: PrismaClient) {
  return {
    /** Stores a key with the hash of its secret. */
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

    /**
     * Returns a key with the hash of its secret, for the one place that compares it; null if the key does not exist.
     */
    async findWithHash(id: string): Promise<(ApiKey & { secretHash: Uint8Array }) | null> {
      const row = await prisma.apiKey.findUnique({ where: { id } })
      return row && asApiKey(row)
    },

    /**
     * Returns a page of the keys of one account, or of all accounts for the operator (null). The order is by id, which
     * is random: it means nothing, but it is stable.
     */
    async list(accountId: string | null, { limit, after }: PageRequest): Promise<Page<ApiKey>> {
      const rows = await prisma.apiKey.findMany({
        where: { ...(accountId ? { accountId } : {}), ...(after ? { id: { gt: after } } : {}) },
        orderBy: { id: 'asc' },
        take: limit + 1,
        omit: { secretHash: true }
      })
      return pageOf(rows.map(asApiKey), limit)
    },

    /**
     * Returns the account of a key, or null if the key does not exist in this account. The operator passes null for any
     * account.
     */
    async findAccountOf(accountId: string | null, id: string): Promise<string | null> {
      const key = await prisma.apiKey.findFirst({
        where: { ...(accountId ? { accountId } : {}), id },
        select: { accountId: true }
      })
      return key?.accountId ?? null
    },

    /** Revokes a key. Returns false if it does not exist. */
    revoke(accountId: string, id: string, event: SignedAuditEvent): Promise<boolean> {
      return prisma.$transaction(async (transaction) => {
        const revoked = await transaction.apiKey.deleteMany({ where: { accountId, id } })
        if (revoked.count === 0) return false
        await writeRecord(transaction, event)
        return true
      })
    },

    /** Records the time at which the key was used, to the minute. Does nothing if the key has this minute already. */
    async noteUse(
      { accountId, id, lastUsedAt }: Pick<ApiKey, 'accountId' | 'id' | 'lastUsedAt'>,
      now: Date
    ): Promise<void> {
      const stale = new Date(now.getTime() - LAST_USED_PRECISION_SECONDS * 1000)
      if (lastUsedAt !== null && lastUsedAt >= stale) return
      await prisma.apiKey.updateMany({
        where: { accountId, id, OR: [{ lastUsedAt: null }, { lastUsedAt: { lt: stale } }] },
        data: { lastUsedAt: now }
      })
    }
  }
}

/** Types the scopes, which are a text array in the database. Only `create` writes it, from the typed list. */
function asApiKey<Row extends { scopes: string[] }>(row: Row): Row & { scopes: Scope[] } {
  return { ...row, scopes: row.scopes as Scope[] }
}
