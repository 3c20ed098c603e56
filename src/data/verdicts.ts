// The compare-and-set behind every guess. Each method is one statement, so one transaction: it does all it
// names or nothing, its record included, and only from the state that was judged. False always means: somebody was
// faster, or the user was reset or disabled meanwhile, or the policy changed; read again and judge again.
import type { PathState } from '../core/attempts.ts'
import type { NewDevice } from '../core/device-tokens.ts'
import { Prisma, type PrismaClient } from '../generated/prisma/client.ts'
import { type ActRecord, recordedWith } from './act-records.ts'
import type { Subject } from './subjects.ts'
import { remembering } from './trusted-devices.ts'

/** The step token a guess is made under; null under an access token. */
export interface StepTokenKey {
  jti: string
  expiresAt: Date
}

export interface AcceptedCode {
  authenticatorId: string
  timeStep: number
}

/** What comes with a success. */
export interface AcceptRecord extends ActRecord {
  /** A device that is trusted from then on; null for none. */
  device: NewDevice | null
}

/**
 * A replica whose clock is ahead would forget, for the others, that a token is used up or its budget spent. No clock
 * that keeps time with anything is an hour off.
 */
const EXPIRED_KEPT_SECONDS = 60 * 60

export type Verdicts = ReturnType<typeof createVerdicts>

export function createVerdicts(prisma: PrismaClient) {
  async function isWon(statement: Prisma.Sql): Promise<boolean> {
    const [row] = await prisma.$queryRaw<{ won: boolean }[]>(statement)
    return row?.won === true
  }

  return {
    /** Counts a wrong code against the user and the step token, and locks or disables the path as `next` says. */
    recordWrongCode(
      judged: Subject,
      stepToken: StepTokenKey | null,
      next: PathState,
      record: ActRecord
    ): Promise<boolean> {
      const counts = Prisma.sql`"codeFailures" = ${next.failures},
        "codeLockedUntil" = ${next.lockedUntil}::timestamptz,
        "codeDisabledAt" = ${next.disabledAt}::timestamptz`
      return isWon(Prisma.sql`
        WITH "user" AS (${moveFrom(judged, counts)})
        ${spend(stepToken, 'codeAttempts')} ${recordedWith('user', record)}
        SELECT EXISTS (SELECT 1 FROM "user") AS won`)
    },

    /** The same for a wrong recovery code, on the recovery path's own budget. */
    recordWrongRecoveryCode(
      judged: Subject,
      stepToken: StepTokenKey | null,
      next: PathState,
      record: ActRecord
    ): Promise<boolean> {
      const counts = Prisma.sql`"recoveryFailures" = ${next.failures},
        "recoveryLockedUntil" = ${next.lockedUntil}::timestamptz`
      return isWon(Prisma.sql`
        WITH "user" AS (${moveFrom(judged, counts)})
        ${spend(stepToken, 'recoveryAttempts')} ${recordedWith('user', record)}
        SELECT EXISTS (SELECT 1 FROM "user") AS won`)
    },

    /** Claims the time step, clears the code path's failures and uses up the step token. */
    acceptCode(
      judged: Subject,
      stepToken: StepTokenKey | null,
      { authenticatorId, timeStep }: AcceptedCode,
      record: AcceptRecord
    ): Promise<boolean> {
      const now = record.event.occurredAt
      const clears = Prisma.sql`"codeFailures" = 0, "codeLockedUntil" = NULL,
        "lastSignInAt" = ${now}::timestamptz`
      const unclaimed = Prisma.sql`EXISTS (SELECT 1 FROM "Authenticator"
        WHERE "accountId" = ${judged.accountId}::uuid AND "userId" = ${judged.userId}::uuid
          AND id = ${authenticatorId}::uuid AND "lastTimeStep" < ${timeStep})`
      const { policy, isAllowed, remembered } = remembering(judged, record.device)
      const guard = Prisma.sql`${unclaimed} AND ${isAllowed}`
      return isWon(Prisma.sql`
        WITH ${policy} "user" AS (${moveFrom(judged, clears, guard)}), claimed AS (
          UPDATE "Authenticator" a SET "lastTimeStep" = ${timeStep}, "lastUsedAt" = ${now}::timestamptz
          FROM "user" WHERE a."accountId" = "user"."accountId" AND a."userId" = "user".id
            AND a.id = ${authenticatorId}::uuid
        )
        ${consume(stepToken, now)} ${remembered} ${recordedWith('user', record)}
        SELECT EXISTS (SELECT 1 FROM "user") AS won`)
    },

    /** Takes the recovery code for good, opens both paths again and uses up the step token. */
    acceptRecoveryCode(
      judged: Subject,
      stepToken: StepTokenKey | null,
      hash: Uint8Array,
      record: AcceptRecord
    ): Promise<boolean> {
      const now = record.event.occurredAt
      const clears = Prisma.sql`"codeFailures" = 0, "codeLockedUntil" = NULL, "codeDisabledAt" = NULL,
        "recoveryFailures" = 0, "recoveryLockedUntil" = NULL, "lastSignInAt" = ${now}::timestamptz`
      const untaken = Prisma.sql`EXISTS (SELECT 1 FROM "RecoveryCode"
        WHERE "accountId" = ${judged.accountId}::uuid AND "userId" = ${judged.userId}::uuid
          AND hash = ${hash})`
      const { policy, isAllowed, remembered } = remembering(judged, record.device)
      const guard = Prisma.sql`${untaken} AND ${isAllowed}`
      return isWon(Prisma.sql`
        WITH ${policy} "user" AS (${moveFrom(judged, clears, guard)}), taken AS (
          DELETE FROM "RecoveryCode" r USING "user"
          WHERE r."accountId" = "user"."accountId" AND r."userId" = "user".id AND r.hash = ${hash}
        )
        ${consume(stepToken, now)} ${remembered} ${recordedWith('user', record)}
        SELECT EXISTS (SELECT 1 FROM "user") AS won`)
    },

    /** Forgets step tokens that expired an hour ago, on any replica's clock. Answers how many. */
    async forgetExpiredStepTokens(now: Date): Promise<number> {
      const before = new Date(now.getTime() - EXPIRED_KEPT_SECONDS * 1000)
      const forgotten = await prisma.stepToken.deleteMany({ where: { expiresAt: { lt: before } } })
      return forgotten.count
    }
  }
}

// Every guess of a user, under whatever token, moves the one version, so the losers of a race all notice.
function moveFrom(
  judged: Subject,
  set: Prisma.Sql,
  guard: Prisma.Sql = Prisma.sql`TRUE`
): Prisma.Sql {
  return Prisma.sql`
    UPDATE "User" SET "codePathVersion" = "codePathVersion" + 1, ${set}
    WHERE "accountId" = ${judged.accountId}::uuid AND id = ${judged.userId}::uuid
      AND "codePathVersion" = ${judged.codePathVersion} AND epoch = ${judged.epoch}
      AND "disabledAt" IS NULL AND ${guard}
    RETURNING "accountId", id`
}

function spend(
  stepToken: StepTokenKey | null,
  budget: 'codeAttempts' | 'recoveryAttempts'
): Prisma.Sql {
  if (!stepToken) return Prisma.empty
  const column = Prisma.raw(`"${budget}"`)
  return Prisma.sql`, spent AS (
    INSERT INTO "StepToken" AS s ("accountId", "userId", jti, "expiresAt", ${column})
    SELECT "accountId", id, ${stepToken.jti}::uuid, ${stepToken.expiresAt}::timestamptz, 1 FROM "user"
    ON CONFLICT ("accountId", "userId", jti) DO UPDATE SET ${column} = s.${column} + 1
  )`
}

function consume(stepToken: StepTokenKey | null, now: Date): Prisma.Sql {
  if (!stepToken) return Prisma.empty
  return Prisma.sql`, consumed AS (
    INSERT INTO "StepToken" ("accountId", "userId", jti, "expiresAt", "consumedAt")
    SELECT "accountId", id, ${stepToken.jti}::uuid, ${stepToken.expiresAt}::timestamptz,
      ${now}::timestamptz FROM "user"
    ON CONFLICT ("accountId", "userId", jti) DO UPDATE SET "consumedAt" = EXCLUDED."consumedAt"
  )`
}
