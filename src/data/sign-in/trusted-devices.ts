// Trusted devices: browsers and phones on which their owner signs in without a code.
import type { SignedAuditEvent } from '../../core/audit/events.ts'
import { DEVICES_MAX, type DeviceState, type NewDevice } from '../../core/trusted-devices.ts'
import { Prisma, type PrismaClient } from '../../generated/prisma/client.ts'
import { raw, template } from '../engine/statements.ts'
import { type ActRecord, recordedWith, type Transaction } from '../trail/act-records.ts'
import { insertEvent } from '../trail/audit-events.ts'
import { expiredBefore } from './expiry.ts'
import { isUser, type Subject, type UserKey } from './subjects.ts'

export interface TrustedDevice {
  id: string
  createdAt: Date
  lastUsedAt: Date | null
  expiresAt: Date
}

export type RevokeOutcome = 'revoked' | 'user-not-found' | 'device-not-found'

/** How long expired devices are kept. A replica whose clock is behind may still trust them for a moment. */
const EXPIRED_KEPT_SECONDS = 60 * 60

export type TrustedDevices = ReturnType<typeof createTrustedDevices>

export function createTrustedDevices(prisma: PrismaClient) {
  return {
    /**
     * Returns the devices that are still trusted, newest first. Returns null if the user does not exist in this
     * account.
     */
    async list({ accountId, userId }: UserKey, now: Date): Promise<TrustedDevice[] | null> {
      if (!(await isUser(prisma, { accountId, userId }))) return null
      return prisma.trustedDevice.findMany({
        where: { accountId, userId, expiresAt: { gt: now } },
        omit: { accountId: true, userId: true },
        orderBy: [{ createdAt: 'desc' }, { id: 'desc' }]
      })
    },

    /** Returns the state of a device that its token is judged by, or null if the device is not or no longer trusted. */
    find({ accountId, userId }: UserKey, id: string): Promise<DeviceState | null> {
      return prisma.trustedDevice.findUnique({
        where: { accountId_userId_id: { accountId, userId, id } },
        select: { id: true, generation: true, rotatedAt: true, expiresAt: true }
      })
    },

    /**
     * Records a sign-in by a device's token and moves the device from the judged state to the next. Returns false if
     * another sign-in was faster, if the device is no longer trusted, or if the user was reset or disabled meanwhile.
     */
    async recordSignIn(
      { accountId, userId, epoch }: Subject,
      judged: DeviceState,
      next: DeviceState,
      event: SignedAuditEvent
    ): Promise<boolean> {
      const now = event.occurredAt
      // Locks the user's row first, in the same order as a reset. Otherwise the two could deadlock.
      const [row] = await prisma.$queryRaw<{ won: boolean }[]>`
        WITH "user" AS (
          SELECT "accountId", id FROM "User"
          WHERE "accountId" = ${accountId}::uuid AND id = ${userId}::uuid
            AND epoch = ${epoch} AND "disabledAt" IS NULL
          FOR NO KEY UPDATE
        ), used AS (
          UPDATE "TrustedDevice" d SET generation = ${next.generation},
            "rotatedAt" = ${next.rotatedAt}::timestamptz, "lastUsedAt" = ${now}::timestamptz
          FROM "user" WHERE d."accountId" = "user"."accountId" AND d."userId" = "user".id
            AND d.id = ${judged.id}::uuid AND d.generation = ${judged.generation}
            AND d."expiresAt" > ${now}::timestamptz
          RETURNING d."accountId", d."userId"
        ), signed_in AS (
          UPDATE "User" u SET "lastSignInAt" = ${now}::timestamptz
          FROM used WHERE u."accountId" = used."accountId" AND u.id = used."userId"
        ), recorded AS (${insertEvent(event, 'used')})
        SELECT EXISTS (SELECT 1 FROM used) AS won`
      return row?.won === true
    },

    /**
     * Revokes a device because a copy of its token exists, and notifies its owner. Concurrent requests notify only
     * once.
     */
    async revokeReused(
      { accountId, userId }: UserKey,
      id: string,
      record: ActRecord
    ): Promise<void> {
      await prisma.$queryRaw`
        WITH revoked AS (
          DELETE FROM "TrustedDevice"
          WHERE "accountId" = ${accountId}::uuid AND "userId" = ${userId}::uuid AND id = ${id}::uuid
          RETURNING id
        ) ${recordedWith('revoked', record)}
        SELECT id FROM revoked`
    },

    /**
     * Deletes devices that expired more than an hour ago, the tolerance for clocks that differ. Returns their number.
     */
    forgetExpired(now: Date): Promise<number> {
      // Skips rows that another transaction has locked, so that no two deletions wait for each other.
      return prisma.$executeRaw`
        DELETE FROM "TrustedDevice" WHERE ("accountId", "userId", id) IN (
          SELECT "accountId", "userId", id FROM "TrustedDevice"
          WHERE ${expiredBefore(now, EXPIRED_KEPT_SECONDS)} FOR UPDATE SKIP LOCKED
        )`
    },

    /** Revokes a device. Needs no guard except the key, because it can only remove trust. */
    async revoke(
      { accountId, userId }: UserKey,
      id: string,
      event: SignedAuditEvent
    ): Promise<RevokeOutcome> {
      const [row] = await prisma.$queryRaw<{ isRevoked: boolean }[]>(Prisma.sql`
        WITH revoked AS (
          DELETE FROM "TrustedDevice"
          WHERE "accountId" = ${accountId}::uuid AND "userId" = ${userId}::uuid AND id = ${id}::uuid
            AND "expiresAt" > ${event.occurredAt}::timestamptz
          RETURNING id
        ), recorded AS (${insertEvent(event, 'revoked')})
        SELECT EXISTS (SELECT 1 FROM revoked) AS "isRevoked"`)
      if (row?.isRevoked) return 'revoked'
      return (await isUser(prisma, { accountId, userId })) ? 'device-not-found' : 'user-not-found'
    }
  }
}

/** The input of the CTEs that make a device trusted. */
export interface Remembering {
  judged: UserKey
  record: { device: NewDevice | null }
}

/**
 * CTEs for a statement that also makes a device trusted. `policy` comes first and locks the account's policy. A change
 * of the policy then either happens after the device is stored, and revokes it, or is visible here, and `isAllowed` is
 * false. `remembered` follows the CTE "user", and deletes the oldest devices to make room for the new one.
 */
export const remembering = {
  policy: template<Remembering>`policy AS (
    SELECT 1 FROM "Policy"
    WHERE "accountId" = ${({ judged }) => judged.accountId}::uuid AND "trustedDevicesAllowed"
      AND "trustedDeviceDays" = ${({ record }) => record.device?.days} AND "ssoMode" <> 'required'
    FOR SHARE
  ), `,
  isAllowed: raw('AND EXISTS (SELECT 1 FROM policy)'),
  remembered: template<Remembering>`, remembered AS (
    INSERT INTO "TrustedDevice" ("accountId", "userId", id, "createdAt", "expiresAt")
    SELECT "accountId", id, ${({ record }) => record.device?.id}::uuid,
      ${({ record }) => record.device?.createdAt}::timestamptz,
      ${({ record }) => record.device?.expiresAt}::timestamptz
    FROM "user"
  ), crowded_out AS (
    DELETE FROM "TrustedDevice" d USING "user"
    WHERE d."accountId" = "user"."accountId" AND d."userId" = "user".id AND d.id IN (
      SELECT id FROM "TrustedDevice"
      WHERE "accountId" = ${({ judged }) => judged.accountId}::uuid
        AND "userId" = ${({ judged }) => judged.userId}::uuid
      ORDER BY "createdAt" DESC, id DESC OFFSET ${() => DEVICES_MAX - 1}
    )
  )`
}

/** Revokes all devices of a user. The caller holds the lock on the user's row. */
export async function forgetDevices(
  transaction: Transaction,
  { accountId, userId }: UserKey
): Promise<void> {
  await transaction.trustedDevice.deleteMany({ where: { accountId, userId } })
}
