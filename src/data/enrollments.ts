// Authenticators on their way in: pending until the first right code, at most one a user.
import type { PrismaClient } from '../generated/prisma/client.ts'
import { isUniqueViolation } from './conflicts.ts'
import type { Subject, UserKey } from './subjects.ts'
import type { StepTokenKey } from './verdicts.ts'

export interface Enrollment extends UserKey {
  authenticatorId: string
  name: string
  sealedSecret: string
  /** The authenticator that dies when this one is confirmed. */
  replaces: string | null
  wrongTries: number
  createdAt: Date
  expiresAt: Date
}

export interface Confirmation {
  /** The time step of the confirming code, which no later sign-in may use again. */
  timeStep: number
  /** Stored when this is the user's first authenticator; the former ones die then. */
  recoveryCodeHashes: Uint8Array<ArrayBuffer>[]
  /** Used up by the success; null under an access token. */
  stepToken: StepTokenKey | null
  /** Whether the caller's sign-in may add to authenticators that are active already. */
  mayAddToOthers: boolean
  authenticatorsMax: number
  now: Date
}

export type ConfirmOutcome =
  | { confirmed: true; isFirst: boolean; recoveryCodesRemaining: number }
  | { confirmed: false; reason: 'lost-race' | 'name-taken' | 'too-many-authenticators' }

/** A late code is told "expired" and not "unknown" for this long. */
const EXPIRED_KEPT_SECONDS = 60 * 60

export type Enrollments = ReturnType<typeof createEnrollments>

export function createEnrollments(prisma: PrismaClient) {
  return {
    /**
     * Makes this the user's one pending enrolment; an earlier one is discarded. False: the user was reset or
     * disabled since the read, or got an authenticator; the lock on their row makes it wait for whoever is at that.
     */
    async start({ epoch }: Subject, enrollment: Enrollment): Promise<boolean> {
      const { accountId, userId, authenticatorId, name, sealedSecret, replaces } = enrollment
      const { wrongTries, createdAt, expiresAt } = enrollment
      const started = await prisma.$executeRaw`
        WITH "user" AS (
          SELECT "accountId", id FROM "User"
          WHERE "accountId" = ${accountId}::uuid AND id = ${userId}::uuid
            AND epoch = ${epoch} AND "disabledAt" IS NULL
          FOR SHARE
        )
        INSERT INTO "Enrollment" ("accountId", "userId", "authenticatorId", name, "sealedSecret",
          replaces, "wrongTries", "createdAt", "expiresAt")
        SELECT "accountId", id, ${authenticatorId}::uuid, ${name}, ${sealedSecret},
          ${replaces}::uuid, ${wrongTries}, ${createdAt}::timestamptz, ${expiresAt}::timestamptz
        FROM "user"
        ON CONFLICT ("accountId", "userId") DO UPDATE SET
          "authenticatorId" = EXCLUDED."authenticatorId", name = EXCLUDED.name,
          "sealedSecret" = EXCLUDED."sealedSecret", replaces = EXCLUDED.replaces,
          "wrongTries" = EXCLUDED."wrongTries", "createdAt" = EXCLUDED."createdAt",
          "expiresAt" = EXCLUDED."expiresAt"`
      return started === 1
    },

    /** The pending enrolment of that authenticator, expired or not; null for none. */
    find({ accountId, userId }: UserKey, authenticatorId: string): Promise<Enrollment | null> {
      return prisma.enrollment.findFirst({ where: { accountId, userId, authenticatorId } })
    },

    /** Forgets enrolments that expired an hour ago; until then the caller is told so. Answers how many. */
    async forgetExpired(now: Date): Promise<number> {
      const before = new Date(now.getTime() - EXPIRED_KEPT_SECONDS * 1000)
      const forgotten = await prisma.enrollment.deleteMany({ where: { expiresAt: { lt: before } } })
      return forgotten.count
    },

    /** Counts a wrong code; answers the tries so far, or null when they were spent already. */
    async spendTry(
      { accountId, userId, authenticatorId }: Enrollment,
      triesMax: number
    ): Promise<number | null> {
      const [spent] = await prisma.enrollment.updateManyAndReturn({
        where: { accountId, userId, authenticatorId, wrongTries: { lt: triesMax } },
        data: { wrongTries: { increment: 1 } },
        select: { wrongTries: true }
      })
      return spent?.wrongTries ?? null
    },

    /**
     * Turns the pending authenticator into an active one and raises the epoch, all or nothing, from the state
     * that was judged. Whether others are active is decided under the lock on the user's row, so no step token
     * slips in behind an authenticator confirmed a moment ago.
     */
    async confirm(
      judged: Subject,
      enrollment: Enrollment,
      confirmation: Confirmation
    ): Promise<ConfirmOutcome> {
      try {
        return await prisma.$transaction((transaction) =>
          activate(transaction, judged, enrollment, confirmation)
        )
      } catch (error) {
        if (error instanceof Refused) return { confirmed: false, reason: error.reason }
        if (isUniqueViolation(error, 'Authenticator_accountId_userId_name_key'))
          return { confirmed: false, reason: 'name-taken' }
        throw error
      }
    }
  }
}

/** Thrown inside the transaction so that it rolls back. */
class Refused extends Error {
  readonly reason: 'lost-race' | 'too-many-authenticators'

  constructor(reason: Refused['reason']) {
    super(reason)
    this.reason = reason
  }
}

type Transaction = Parameters<Parameters<PrismaClient['$transaction']>[0]>[0]

async function activate(
  transaction: Transaction,
  { epoch }: Subject,
  { accountId, userId, authenticatorId, name, sealedSecret, replaces, createdAt }: Enrollment,
  { timeStep, recoveryCodeHashes, stepToken, mayAddToOthers, authenticatorsMax, now }: Confirmation
): Promise<ConfirmOutcome> {
  const moved = await transaction.user.updateMany({
    where: { accountId, id: userId, epoch, disabledAt: null },
    data: { epoch: { increment: 1 }, codePathVersion: { increment: 1 }, lastSignInAt: now }
  })
  const taken = await transaction.enrollment.deleteMany({
    where: { accountId, userId, authenticatorId }
  })
  if (moved.count === 0 || taken.count === 0) throw new Refused('lost-race')

  const replaced = replaces
    ? await transaction.authenticator.deleteMany({ where: { accountId, userId, id: replaces } })
    : { count: 0 }
  const others = await transaction.authenticator.count({ where: { accountId, userId } })
  const isFirst = others + replaced.count === 0
  if (!isFirst && !mayAddToOthers) throw new Refused('lost-race')
  if (others >= authenticatorsMax) throw new Refused('too-many-authenticators')

  await transaction.authenticator.create({
    data: {
      accountId,
      userId,
      id: authenticatorId,
      name,
      sealedSecret,
      createdAt,
      confirmedAt: now,
      lastUsedAt: now,
      lastTimeStep: timeStep
    }
  })
  if (isFirst) {
    // Guesses at an authenticator and at recovery codes that are gone say nothing about these.
    await transaction.user.updateMany({
      where: { accountId, id: userId },
      data: {
        ...{ codeFailures: 0, codeLockedUntil: null, codeDisabledAt: null },
        ...{ recoveryFailures: 0, recoveryLockedUntil: null }
      }
    })
    await transaction.recoveryCode.deleteMany({ where: { accountId, userId } })
    await transaction.recoveryCode.createMany({
      data: recoveryCodeHashes.map((hash) => ({ accountId, userId, hash }))
    })
  }
  if (stepToken) {
    await transaction.stepToken.upsert({
      where: { accountId_userId_jti: { accountId, userId, jti: stepToken.jti } },
      create: { accountId, userId, ...stepToken, consumedAt: now },
      update: { consumedAt: now }
    })
  }
  const recoveryCodesRemaining = await transaction.recoveryCode.count({
    where: { accountId, userId }
  })
  return { confirmed: true, isFirst, recoveryCodesRemaining }
}
