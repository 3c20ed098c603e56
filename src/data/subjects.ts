// The user as a sign-in sees one: identity, policy, code path, authenticators and the step token in one read.
import type { PathState } from '../core/attempts.ts'
import type { Role } from '../core/claims.ts'
import { bindingMandate, type Demands } from '../core/policy.ts'
import { Prisma, type PrismaClient } from '../generated/prisma/client.ts'
import { asAccountPolicy, type PolicyRow } from './demands.ts'

export interface SubjectAuthenticator {
  id: string
  name: string
  sealedSecret: string
  lastTimeStep: number
}

/** A snapshot: everything in it was true at one instant, the instant of `codePathVersion`. */
export interface Subject extends Demands {
  accountId: string
  accountName: string
  audience: string
  userId: string
  email: string
  role: Role
  isDisabled: boolean
  epoch: number
  codePathVersion: number
  codePath: PathState
  recoveryPath: PathState
  authenticators: SubjectAuthenticator[]
  recoveryCodesRemaining: number
  /** What has happened under the step token asked about; null while nothing has. */
  stepToken: { codeAttempts: number; recoveryAttempts: number; isConsumed: boolean } | null
}

interface SubjectRow extends PolicyRow {
  accountId: string
  accountName: string
  audience: string
  mandatedFrom: Date | null
  mandateReason: string | null
  userId: string
  email: string
  role: Role
  passwordHash: string | null
  disabledAt: Date | null
  epoch: number
  codePathVersion: number
  codeFailures: number
  codeLockedUntil: Date | null
  codeDisabledAt: Date | null
  recoveryFailures: number
  recoveryLockedUntil: Date | null
  authenticators: SubjectAuthenticator[]
  recoveryCodesRemaining: number
  stepToken: Subject['stepToken']
}

export interface UserKey {
  accountId: string
  userId: string
}

/** Whether there is such a user in this account, whatever their state. */
export async function isUser(
  prisma: PrismaClient,
  { accountId, userId }: UserKey
): Promise<boolean> {
  return (await prisma.user.count({ where: { accountId, id: userId } })) === 1
}

export type Subjects = ReturnType<typeof createSubjects>

/** `mandateFrom` is the deployment's own mandate; null for none. */
export function createSubjects(prisma: PrismaClient, mandateFrom: Date | null) {
  /** One statement, one snapshot. */
  async function read(where: Prisma.Sql, jti: string | null): Promise<SubjectRow | null> {
    const [row] = await prisma.$queryRaw<SubjectRow[]>`
      SELECT u."accountId", a.name AS "accountName", a.audience, p."twoFactor"::text AS "twoFactor",
        p."requiredFrom", p."requiredSince", p."graceDays", p."trustedDevicesAllowed",
        p."trustedDeviceDays", p."ssoMode"::text AS "ssoMode", p."ssoIssuer", p."ssoClientId",
        m."requiredFrom" AS "mandatedFrom", m.reason AS "mandateReason",
        u.id AS "userId", u.email, u.role::text AS role, u."passwordHash", u."disabledAt", u.epoch,
        u."codePathVersion", u."codeFailures", u."codeLockedUntil", u."codeDisabledAt",
        u."recoveryFailures", u."recoveryLockedUntil",
        (SELECT coalesce(json_agg(json_build_object('id', x.id, 'name', x.name,
            'sealedSecret', x."sealedSecret", 'lastTimeStep', x."lastTimeStep") ORDER BY x.id), '[]')
          FROM "Authenticator" x WHERE x."accountId" = u."accountId" AND x."userId" = u.id
        ) AS authenticators,
        (SELECT count(*)::int FROM "RecoveryCode" r
          WHERE r."accountId" = u."accountId" AND r."userId" = u.id) AS "recoveryCodesRemaining",
        (SELECT json_build_object('codeAttempts', s."codeAttempts",
            'recoveryAttempts', s."recoveryAttempts", 'isConsumed', s."consumedAt" IS NOT NULL)
          FROM "StepToken" s WHERE s."accountId" = u."accountId" AND s."userId" = u.id
            AND s.jti = ${jti}::uuid) AS "stepToken"
      FROM "User" u
      JOIN "Account" a ON a.id = u."accountId"
      JOIN "Policy" p ON p."accountId" = u."accountId"
      LEFT JOIN "Mandate" m ON m."accountId" = u."accountId"
      WHERE ${where}`
    return row ?? null
  }

  function readByEmail(accountId: string, email: string): Promise<SubjectRow | null> {
    return read(Prisma.sql`u."accountId" = ${accountId}::uuid AND u.email = ${email}`, null)
  }

  async function find(
    { accountId, userId }: UserKey,
    jti: string | null = null
  ): Promise<Subject | null> {
    const row = await read(
      Prisma.sql`u."accountId" = ${accountId}::uuid AND u.id = ${userId}::uuid`,
      jti
    )
    return row && asSubject(row, mandateFrom)
  }

  return {
    /** A user, whatever their state. With the `jti` of a step token, what has happened under it too. */
    find,

    /**
     * The owner of a token that is not dead: null when the user is gone, disabled, or of another epoch than the
     * token. Role and state come from the row, never from the token, so a reset kills tokens at once.
     */
    async findLiving(
      { account, sub, epoch }: { account: string; sub: string; epoch: number },
      jti: string | null = null
    ): Promise<Subject | null> {
      const subject = await find({ accountId: account, userId: sub }, jti)
      return subject && !subject.isDisabled && subject.epoch === epoch ? subject : null
    },

    /** The account's user of that address, for a back end that asserts who has signed in. */
    async findByEmail(accountId: string, email: string): Promise<Subject | null> {
      const row = await readByEmail(accountId, email)
      return row && asSubject(row, mandateFrom)
    },

    /** The account's user of that address, with the password's hash; for the password route only. */
    async findForLogin(
      accountId: string,
      email: string
    ): Promise<{ subject: Subject; passwordHash: string | null } | null> {
      const row = await readByEmail(accountId, email)
      return row && { subject: asSubject(row, mandateFrom), passwordHash: row.passwordHash }
    }
  }
}

function asSubject(row: SubjectRow, mandateFrom: Date | null): Subject {
  const ofAccount = row.mandatedFrom && {
    requiredFrom: row.mandatedFrom,
    reason: row.mandateReason
  }
  return {
    accountId: row.accountId,
    accountName: row.accountName,
    audience: row.audience,
    policy: asAccountPolicy(row),
    mandate: bindingMandate(ofAccount, mandateFrom),
    userId: row.userId,
    email: row.email,
    role: row.role,
    isDisabled: row.disabledAt !== null,
    epoch: row.epoch,
    codePathVersion: row.codePathVersion,
    codePath: {
      failures: row.codeFailures,
      lockedUntil: row.codeLockedUntil,
      disabledAt: row.codeDisabledAt
    },
    recoveryPath: {
      failures: row.recoveryFailures,
      lockedUntil: row.recoveryLockedUntil,
      disabledAt: null
    },
    authenticators: row.authenticators,
    recoveryCodesRemaining: row.recoveryCodesRemaining,
    stepToken: row.stepToken
  }
}
