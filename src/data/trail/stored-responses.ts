// The responses to requests with an idempotency key. Each is written in the transaction of its act, so either both exist or
// neither does.
import type { PrismaClient } from '../../generated/prisma/client.ts'
import type { Transaction } from './act-records.ts'

export interface ResponsePlace {
  accountId: string
  id: string
}

/** What an act needs to store the response to its request. */
export interface ResponseKeeper<Result> {
  place: ResponsePlace
  now: Date
  expiresAt: Date
  /** Returns the response to this result, encrypted for the place. */
  sealedOf(result: Result): string
  /** Returns the error to throw if another request has done the act. */
  taken(): Error
}

/** Enough for an hour of creations, and short enough not to delay other statements. */
const DELETED_AT_ONCE = 1000

export type StoredResponses = ReturnType<typeof createStoredResponses>

export function createStoredResponses(prisma: PrismaClient) {
  return {
    /** Returns the response, still encrypted; null if there is none or if it has expired. */
    async find({ accountId, id }: ResponsePlace, now: Date): Promise<string | null> {
      const row = await prisma.storedResponse.findFirst({
        where: { accountId, id, expiresAt: { gt: now } }
      })
      return row?.sealedResponse ?? null
    },

    /** Deletes one batch of expired responses. Returns whether more are waiting. */
    async forgetExpired(now: Date): Promise<boolean> {
      const deleted = await prisma.$executeRaw`
        DELETE FROM "StoredResponse" WHERE ("accountId", id) IN (
          SELECT "accountId", id FROM "StoredResponse" WHERE "expiresAt" <= ${now}::timestamptz
          ORDER BY "expiresAt" LIMIT ${DELETED_AT_ONCE} FOR UPDATE SKIP LOCKED
        )`
      return deleted === DELETED_AT_ONCE
    }
  }
}

/**
 * Does an act at most once for each place, and stores the response to its result. Of two concurrent requests for a place, the
 * later one waits for the first, and throws the keeper's error if that has done the act. An act that returns null stores
 * nothing.
 */
export async function doOnce<Result>(
  transaction: Transaction,
  keeper: ResponseKeeper<Result> | null,
  act: () => Promise<Result | null>
): Promise<Result | null> {
  if (!keeper) return act()
  const { accountId, id } = keeper.place
  const claimed = await transaction.$executeRaw`
    INSERT INTO "StoredResponse" AS stored ("accountId", id, "sealedResponse", "expiresAt")
    VALUES (${accountId}::uuid, ${id}::uuid, '', ${keeper.expiresAt}::timestamptz)
    ON CONFLICT ("accountId", id) DO UPDATE SET "expiresAt" = excluded."expiresAt"
    WHERE stored."expiresAt" <= ${keeper.now}::timestamptz`
  if (claimed === 0) throw keeper.taken()
  const result = await act()
  const where = { accountId_id: { accountId, id } }
  if (result === null) await transaction.storedResponse.delete({ where })
  else {
    const sealedResponse = keeper.sealedOf(result)
    await transaction.storedResponse.update({ where, data: { sealedResponse } })
  }
  return result
}
