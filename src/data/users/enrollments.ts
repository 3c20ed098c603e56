// Enrollments: authenticators that are pending until their first right code. A user has at most one.
import type { SignedAuditEvent } from '../../core/audit/events.ts'
import type { FirstFactor } from '../../core/claims.ts'
import { type Notice, noticeTo } from '../../core/mail/notices.ts'
import { policyEnd } from '../../core/sessions.ts'
import type { PrismaClient } from '../../generated/prisma/client.ts'
import { isUniqueViolation } from '../engine/conflicts.ts'
import { holdSingleSignOn } from '../policy/demands.ts'
import { expiredBefore } from '../sign-in/expiry.ts'
import type { Subject, UserKey } from '../sign-in/subjects.ts'
import { forgetDevices } from '../sign-in/trusted-devices.ts'
import type { StepTokenKey } from '../sign-in/verdicts.ts'
import { type Transaction, writeRecord } from '../trail/act-records.ts'
import { insertEvent } from '../trail/audit-events.ts'
import { replaceCodes } from './recovery-codes.ts'
import { clearPaths } from './two-factor.ts'

export interface Enrollment extends UserKey {
  authenticatorId: string
  name: string
  sealedSecret: string
  /** The authenticator that is removed when this one is confirmed. */
  replaces: string | null
  wrongTries: number
  createdAt: Date
  expiresAt: Date
}

export interface Confirmation {
  /** The time step of the confirming code. No later sign-in may use it again. */
  timeStep: number
  /** Stored if this is the user's first authenticator. They replace all earlier recovery codes. */
  recoveryCodeHashes: Uint8Array<ArrayBuffer>[]
  /** Consumed by the success; null if the caller has an access token. */
  stepToken: StepTokenKey | null
  /** The first factor of the session, which the account's policy must still accept. */
  firstFactor: FirstFactor
  /** Whether the caller's sign-in permits a second authenticator while another one is active. */
  mayAddToOthers: boolean
  authenticatorsMax: number
  event: SignedAuditEvent
}

export type ConfirmOutcome =
  | { confirmed: true; isFirst: boolean; recoveryCodesRemaining: number }
  | { confirmed: false; reason: ConfirmRefusal | 'name-taken' }

/** `sso-managed` and `step-up-required`: the account's single sign-on was changed since the user was read. */
type ConfirmRefusal = 'lost-race' | 'too-many-authenticators' | 'sso-managed' | 'step-up-required'

/** For this long after the expiry, the response to a late code is "expired" and not "unknown". */
const EXPIRED_KEPT_SECONDS = 60 * 60

export type Enrollments = ReturnType<typeof createEnrollments>

export function createEnrollments(prisma: PrismaClient) {
  return {
    /**
     * Stores the user's only pending enrollment and discards an earlier one. Returns false if, since the user was read,
     * they were reset or disabled, or confirmed an authenticator. If such a change is under way, waits for its end.
     */
    async start(
      { epoch }: Subject,
      enrollment: Enrollment,
      event: SignedAuditEvent
    ): Promise<boolean> {
      const { accountId, userId, authenticatorId, name, sealedSecret, replaces } = enrollment
      const { wrongTries, createdAt, expiresAt } = enrollment
      const started = await prisma.$executeRaw`
        WITH "user" AS (
          SELECT "accountId", id FROM "User"
          WHERE "accountId" = ${accountId}::uuid AND id = ${userId}::uuid
            AND epoch = ${epoch} AND "disabledAt" IS NULL
          FOR SHARE
        ), recorded AS (${insertEvent(event, 'user')})
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

    /** Returns the pending enrollment of an authenticator, even if it has expired; null if there is none. */
    find({ accountId, userId }: UserKey, authenticatorId: string): Promise<Enrollment | null> {
      return prisma.enrollment.findFirst({ where: { accountId, userId, authenticatorId } })
    },

    /**
     * Deletes enrollments that expired more than an hour ago. Until then, the caller learns that they expired. Returns
     * their number.
     */
    async forgetExpired(now: Date): Promise<number> {
      return prisma.$executeRaw`
        DELETE FROM "Enrollment" WHERE ${expiredBefore(now, EXPIRED_KEPT_SECONDS)}`
    },

    /** Counts a wrong code. Returns the number of tries so far, or null if all tries were spent already. */
    async spendTry(
      { accountId, userId, authenticatorId }: Enrollment,
      triesMax: number,
      event: SignedAuditEvent
    ): Promise<number | null> {
      const [spent] = await prisma.$queryRaw<{ wrongTries: number }[]>`
        WITH spent AS (
          UPDATE "Enrollment" SET "wrongTries" = "wrongTries" + 1
          WHERE "accountId" = ${accountId}::uuid AND "userId" = ${userId}::uuid
            AND "authenticatorId" = ${authenticatorId}::uuid AND "wrongTries" < ${triesMax}
          RETURNING "wrongTries"
        ), recorded AS (${insertEvent(event, 'spent')})
        SELECT "wrongTries" FROM spent`
      return spent?.wrongTries ?? null
    },

    /**
     * Activates the pending authenticator and raises the epoch in one transaction, if the user is still in the state
     * that was judged. Counts the other active authenticators under the lock on the user's row. So a step token cannot
     * add an authenticator after another one was confirmed.
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

/** Thrown inside the transaction to roll it back. */
class Refused extends Error {
  readonly reason: ConfirmRefusal

  constructor(reason: ConfirmRefusal) {
    super(reason)
    this.reason = reason
  }
}

async function activate(
  transaction: Transaction,
  judged: Subject,
  { accountId, userId, authenticatorId }: Enrollment,
  {
    timeStep,
    recoveryCodeHashes,
    stepToken,
    firstFactor,
    mayAddToOthers,
    authenticatorsMax,
    event
  }: Confirmation
): Promise<ConfirmOutcome> {
  const now = event.occurredAt
  const pending = await takePending(transaction, judged, authenticatorId, now)
  const { name, sealedSecret, replaces, createdAt } = pending
  await requireAccepted(transaction, accountId, firstFactor)
  const replaced = replaces ? await removeReplaced(transaction, judged, replaces) : null
  const others = await transaction.authenticator.count({ where: { accountId, userId } })
  const isFirst = others === 0 && replaced === null
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
    await transaction.user.updateMany({ where: { accountId, id: userId }, data: clearPaths })
    await replaceCodes(transaction, judged, recoveryCodeHashes)
  }
  if (stepToken) {
    await transaction.stepToken.upsert({
      where: { accountId_userId_jti: { accountId, userId, jti: stepToken.jti } },
      create: { accountId, userId, ...stepToken, consumedAt: now },
      update: { consumedAt: now }
    })
  }
  await writeRecord(transaction, event, [
    noticeOfConfirmed(judged, { name, replaced, isFirst, event })
  ])
  const recoveryCodesRemaining = await transaction.recoveryCode.count({
    where: { accountId, userId }
  })
  return { confirmed: true, isFirst, recoveryCodesRemaining }
}

/** Locks the policy until the transaction ends. Throws if it accepts no set-up, or not the first factor of the session. */
async function requireAccepted(
  transaction: Transaction,
  accountId: string,
  firstFactor: FirstFactor
): Promise<void> {
  const accepted = await holdSingleSignOn(transaction, accountId)
  if (accepted.mode === 'required') throw new Refused('sso-managed')
  if (policyEnd(firstFactor, accepted)) throw new Refused('step-up-required')
}

/**
 * Raises the epoch from the judged one, and removes and returns the enrollment. A set-up that a reset made necessary is
 * thereby done. Raising the epoch locks the user's row. The enrollment is read again under this lock, because it may have been renamed or discarded.
 */
async function takePending(
  transaction: Transaction,
  { accountId, userId, epoch }: Subject,
  authenticatorId: string,
  now: Date
): Promise<Enrollment> {
  const moved = await transaction.user.updateMany({
    where: { accountId, id: userId, epoch, disabledAt: null },
    data: {
      epoch: { increment: 1 },
      codePathVersion: { increment: 1 },
      lastSignInAt: now,
      resetPendingSince: null
    }
  })
  const key = { accountId, userId, authenticatorId }
  const pending = await transaction.enrollment.findFirst({ where: key })
  if (moved.count === 0 || !pending) throw new Refused('lost-race')
  await transaction.enrollment.deleteMany({ where: key })
  return pending
}

/** Removes the authenticator that is replaced. Returns its name, or null if it was removed already. */
async function removeReplaced(
  transaction: Transaction,
  { accountId, userId }: Subject,
  id: string
): Promise<string | null> {
  const key = { accountId, userId, id }
  const replaced = await transaction.authenticator.findFirst({ where: key })
  await transaction.authenticator.deleteMany({ where: key })
  // The devices may have become trusted by a code from it, as in a removal. An added authenticator revokes no devices.
  await forgetDevices(transaction, { accountId, userId })
  return replaced?.name ?? null
}

function noticeOfConfirmed(
  judged: Subject,
  {
    name: authenticator,
    replaced,
    isFirst,
    event
  }: { name: string; replaced: string | null; isFirst: boolean; event: SignedAuditEvent }
): Notice {
  if (isFirst) return noticeTo(judged, event, 'two_factor_enabled', { authenticator })
  if (replaced === null) return noticeTo(judged, event, 'authenticator_added', { authenticator })
  return noticeTo(judged, event, 'authenticator_replaced', { authenticator, replaced })
}
