import type { SignedAuditEvent } from '../../core/audit/events.ts'
import { fitsLine, type Scope } from '../../core/bearer-keys.ts'
import { type Page, type PageRequest, pageOf } from '../../core/lists/pages.ts'
import { Prisma, type PrismaClient } from '../../generated/prisma/client.ts'
import { filled, template } from '../engine/statements.ts'
import { type Transaction, writeRecord } from '../trail/act-records.ts'
import { heldAccount } from '../trail/acting-keys.ts'
import { notifyAdmins } from '../trail/admin-notices.ts'
import { writeEvents } from '../trail/audit-events.ts'
import { doOnce, type ResponseKeeper } from '../trail/stored-responses.ts'

/** The credential that created a key. */
export interface KeyMaker {
  kind: 'operator' | 'api_key'
  id: string
}

export interface ApiKey {
  accountId: string
  id: string
  name: string
  scopes: Scope[]
  createdAt: Date
  expiresAt: Date | null
  lastUsedAt: Date | null
  /** Null for a key of an earlier release whose creation is not in the audit trail. */
  createdBy: KeyMaker | null
}

export interface NewApiKey {
  accountId: string
  id: string
  secretHash: Uint8Array<ArrayBuffer>
  name: string
  scopes: Scope[]
  createdAt: Date
  expiresAt: Date | null
  createdBy: KeyMaker
}

/** Why a key was not created. */
export type KeyRefusal = 'maker-revoked' | 'too-many-generations'

/** A key, or a key with all keys that it led to. */
export interface KeyFamily {
  id: string
  withDescendants: boolean
}

/** The reader of a mail does not need more names: the audit trail has them all. */
const NAMES_MAX = 20

/** `lastUsedAt` may be out of date by this time. One write per minute is enough to see whether a key is in use. */
const LAST_USED_PRECISION_SECONDS = 60

export type ApiKeys = ReturnType<typeof createApiKeys>

export function createApiKeys(prisma: PrismaClient) {
  return {
    /**
     * Stores a key with the hash of its secret. Stores nothing if the API key that creates it was revoked meanwhile, or if
     * it belongs to the last generation of keys.
     */
    async create(
      apiKey: NewApiKey,
      event: SignedAuditEvent,
      keeper: ResponseKeeper<ApiKey> | null
    ): Promise<ApiKey | KeyRefusal> {
      let refusal: KeyRefusal = 'maker-revoked'
      const created = await prisma.$transaction((transaction) =>
        doOnce(transaction, keeper, async () => {
          const makers = await lockMakers(transaction, apiKey)
          if (!makers) return null
          if (!fitsLine(makers.length)) {
            refusal = 'too-many-generations'
            return null
          }
          const created = await transaction.apiKey.create({
            data: { ...newKeyRow(apiKey), makers },
            omit: { secretHash: true }
          })
          await writeRecord(transaction, event)
          const { name, scopes } = apiKey
          await notifyAdmins(transaction, event, 'api_key_created', { name, scopes })
          return asApiKey(created)
        })
      )
      return created ?? refusal
    },

    /**
     * Returns a key with the hash of its secret, for the one place that compares it; null if the key does not exist.
     */
    async findWithHash(id: string): Promise<(ApiKey & { secretHash: Uint8Array }) | null> {
      const row = await prisma.apiKey.findUnique({ where: { id } })
      return row && { ...asApiKey(row), secretHash: row.secretHash }
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
     * Returns the keys of a family that exist in this account. The operator passes null for any account. The descendants
     * of a key that was already revoked are found too.
     */
    async findFamily(
      accountId: string | null,
      { id, withDescendants }: KeyFamily
    ): Promise<Pick<ApiKey, 'accountId' | 'id' | 'scopes'>[]> {
      const isOfFamily = withDescendants ? [{ id }, { makers: { has: id } }] : [{ id }]
      const rows = await prisma.apiKey.findMany({
        where: { ...(accountId ? { accountId } : {}), OR: isOfFamily },
        select: { accountId: true, id: true, scopes: true }
      })
      return rows.map((row) => ({ ...row, scopes: row.scopes as Scope[] }))
    },

    /**
     * Revokes a family of keys, each with its own event. Notifies the admins. Returns false if there was none to revoke. An
     * API key that acts is judged first, because it may revoke itself.
     */
    revoke(
      accountId: string,
      family: KeyFamily,
      eventOf: (id: string) => SignedAuditEvent
    ): Promise<boolean> {
      return prisma.$transaction(async (transaction) => {
        await holdActor(transaction, family, eventOf(family.id))
        const revoked = await deleteAll(transaction, accountId, family)
        const events = revoked.map(({ id }) => eventOf(id))
        const [event] = events
        if (!event) return false
        await writeEvents(transaction, events)
        const names = namesIn(revoked)
        await notifyAdmins(transaction, event, 'api_keys_revoked', { names })
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

/** Returns a new key as it is stored. */
export function newKeyRow<Key extends Pick<NewApiKey, 'createdBy'>>({ createdBy, ...key }: Key) {
  return { ...key, createdByKind: createdBy.kind, createdById: createdBy.id }
}

/**
 * Returns the line of API keys that leads to a new key, oldest first. Locks the key that creates it, so that its revocation
 * comes first or finds the new key. Returns null if that key does not exist any longer.
 */
async function lockMakers(
  transaction: Transaction,
  { accountId, createdBy: { kind, id } }: NewApiKey
): Promise<string[] | null> {
  if (kind === 'operator') return []
  const [maker] = await transaction.$queryRaw<{ makers: string[] }[]>`
    SELECT makers FROM "ApiKey" WHERE "accountId" = ${accountId}::uuid AND id = ${id} FOR KEY SHARE`
  return maker ? [...maker.makers, id] : null
}

/** Returns the names for a mail: the first ones, and how many more there are. */
function namesIn(keys: readonly { name: string }[]): string[] {
  const names = keys.slice(0, NAMES_MAX).map(({ name }) => name)
  const more = keys.length - names.length
  return more > 0 ? [...names, `and ${more} more`] : names
}

/** A key may create another one until its own deletion, so the search is repeated until it finds none. */
async function deleteAll(
  transaction: Transaction,
  accountId: string,
  family: KeyFamily
): Promise<{ id: string; name: string }[]> {
  const all: { id: string; name: string }[] = []
  for (;;) {
    const found = await deleteFamily(transaction, accountId, family)
    if (found.length === 0) return all
    all.push(...found)
  }
}

/** Locks the API key that acts together with the family, so that two keys that revoke each other do not deadlock. */
async function holdActor(
  transaction: Transaction,
  family: KeyFamily,
  event: SignedAuditEvent
): Promise<void> {
  const { accountId, actor, actingScopes } = event
  if (!actingScopes) return
  await transaction.$queryRaw`
    SELECT id FROM "ApiKey"
    WHERE "accountId" = ${accountId}::uuid AND (id = ${actor.id} OR ${isOf(family)})
    ORDER BY id FOR UPDATE`
  await transaction.$queryRaw(filled(template`SELECT ${heldAccount}::text AS held`, event))
}

function isOf({ id, withDescendants }: KeyFamily): Prisma.Sql {
  return withDescendants
    ? Prisma.sql`(id = ${id} OR makers @> ARRAY[${id}])`
    : Prisma.sql`id = ${id}`
}

/** Locks the keys in the order of their ids, so that two revocations do not wait for each other. */
async function deleteFamily(
  transaction: Transaction,
  accountId: string,
  family: KeyFamily
): Promise<{ id: string; name: string }[]> {
  return transaction.$queryRaw<{ id: string; name: string }[]>`
    WITH family AS (
      SELECT id FROM "ApiKey" WHERE "accountId" = ${accountId}::uuid AND ${isOf(family)}
      ORDER BY id FOR UPDATE
    )
    DELETE FROM "ApiKey" k USING family
    WHERE k."accountId" = ${accountId}::uuid AND k.id = family.id RETURNING k.id, k.name`
}

interface KeyRow extends Omit<ApiKey, 'scopes' | 'createdBy'> {
  scopes: string[]
  createdByKind: string | null
  createdById: string | null
}

/** Types the columns that are text in the database. Only `create` writes them, from typed values. */
function asApiKey(row: KeyRow): ApiKey {
  const { accountId, id, name, createdAt, expiresAt, lastUsedAt, createdByKind, createdById } = row
  const createdBy =
    createdByKind === null || createdById === null
      ? null
      : { kind: createdByKind as KeyMaker['kind'], id: createdById }
  const scopes = row.scopes as Scope[]
  return { accountId, id, name, scopes, createdAt, expiresAt, lastUsedAt, createdBy }
}
