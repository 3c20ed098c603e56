// Browsers and phones whose owner is not asked for a code there.
import type { SignedAuditEvent } from '../../core/audit/events.ts'
import { DEVICES_MAX, type DeviceState, type NewDevice } from '../../core/trusted-devices.ts'
import { Prisma, type PrismaClient } from '../../generated/prisma/client.ts'
import { raw, template } from '../engine/statements.ts'
import { type ActRecord, recordedWith, type Transaction } from '../trail/act-records.ts'
import { insertEvent } from '../trail/audit-events.ts'
import { isUser, type Subject, type UserKey } from './subjects.ts'

export interface TrustedDevice {
  id: string
  createdAt: Date
  lastUsedAt: Date | null
  expiresAt: Date
}

export type RevokeOutcome = 'revoked' | 'user-not-found' | 'device-not-found'

/** A replica whose clock is behind may still trust, for a moment, what has expired. */
const EXPIRED_KEPT_SECONDS = 60 * 60

export type TrustedDevices = ReturnType<typeof createTrustedDevices>

export function createTrustedDevices(prisma: PrismaClient) {
  return {
    /** Those that are still trusted, newest first. Null: no such user in this account. */
    async list({ accountId, userId }: UserKey, now: Date): Promise<TrustedDevice[] | null> {
      if (!(await isUser(prisma, { accountId, userId }))) return null
      return prisma.trustedDevice.findMany({
        where: { accountId, userId, expiresAt: { gt: now } },
        omit: { accountId: true, userId: true },
        orderBy: [{ createdAt: 'desc' }, { id: 'desc' }]
      })
    },

    /** A device as its token is judged by; null: it is trusted no more, or never was. */
    find({ accountId, userId }: UserKey, id: string): Promise<DeviceState | null> {
      return prisma.trustedDevice.findUnique({
        where: { accountId_userId_id: { accountId, userId, id } },
        select: { id: true, generation: true, rotatedAt: true, expiresAt: true }
      })
    },

    /**
     * Notes a sign-in by a device's token and moves the device on, from the state that was judged. False: another
     * sign-in was faster, the device is trusted no more, or the user was reset or disabled meanwhile.
     */
    async recordSignIn(
      { accountId, userId, epoch }: Subject,
      judged: DeviceState,
      next: DeviceState,
      event: SignedAuditEvent
    ): Promise<boolean> {
      const now = event.occurredAt
      // The lock on the user's row comes first, as in a reset, so that the two never wait for each other.
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

    /** Ends the trust in a device of whose token there is a copy, and tells its owner; once, whoever shows it again. */
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

    /** Forgets devices that expired an hour ago, on any replica's clock. Answers how many. */
    forgetExpired(now: Date): Promise<number> {
      const before = new Date(now.getTime() - EXPIRED_KEPT_SECONDS * 1000)
      // What somebody is at already is left to them: no two deletions wait for each other.
      return prisma.$executeRaw`
        DELETE FROM "TrustedDevice" WHERE ("accountId", "userId", id) IN (
          SELECT "accountId", "userId", id FROM "TrustedDevice"
          WHERE "expiresAt" < ${before}::timestamptz FOR UPDATE SKIP LOCKED
        )`
    },

    /** Ends the trust in a device. No guard but the key: it only ever takes trust away. */
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

/** What is judged when a device is to be trusted from then on. */
export interface Remembering {
  judged: UserKey
  record: { device: NewDevice | null }
}

/**
 * CTEs for a statement that makes a device trusted, for use where there is one. `policy` comes first and holds the
 * account's policy, so that it is either changed after the device is there, and takes it away, or seen as changed;
 * `isAllowed` is then false. `remembered` follows the CTE "user", and the oldest devices go for it.
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

/** Ends the trust in all devices of a user, under the lock on the user's row. */
export async function forgetDevices(
  transaction: Transaction,
  { accountId, userId }: UserKey
): Promise<void> {
  await transaction.trustedDevice.deleteMany({ where: { accountId, userId } })
}
