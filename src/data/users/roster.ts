// The roster: an account's users with their two-factor state. Each page is one statement, so that the filter and the
// listed state are of the same instant.

import type { Role } from '../../core/claims.ts'
import { storedAddress } from '../../core/input/email-addresses.ts'
import { type Page, type PageRequest, pageOf } from '../../core/lists/pages.ts'
import type { AccountPolicy } from '../../core/policy.ts'
import type { StoredRequirement } from '../../core/two-factor/requirements.ts'
import {
  demandsOf,
  ENROLLMENT_TRIES_MAX,
  type TwoFactorFacts,
  type TwoFactorFilter,
  type TwoFactorRows
} from '../../core/two-factor/states.ts'
import { Prisma, type PrismaClient } from '../../generated/prisma/client.ts'
import { isExemptFrom } from '../policy/policies.ts'
import type { UserKey } from '../sign-in/subjects.ts'
import type { Transaction } from '../trail/act-records.ts'

/** A user as the roster lists them. */
export interface RosterUser extends TwoFactorRows, StoredRequirement {
  accountId: string
  id: string
  email: string
  role: Role
  externalId: string | null
  disabledAt: Date | null
  createdAt: Date
  lastSignInAt: Date | null
  /** Oldest first. */
  authenticators: { confirmedAt: Date }[]
  _count: { recoveryCodes: number }
}

export interface RosterRequest extends PageRequest {
  twoFactor: TwoFactorFilter | null
  /** A part of the e-mail address or of the external id. Upper and lower case are the same. */
  q: string | null
  /** The policy that decides whether a user is exempt. */
  policy: AccountPolicy
  /** The instant at which locks and enrollments are judged. */
  now: Date
}

/** The row of a user. The statement collects rows of other tables as JSON, which has no instants. */
interface RosterRow extends Omit<RosterUser, 'authenticators' | 'enrollment'> {
  authenticators: { confirmedAt: string }[]
  enrollment: { expiresAt: string; wrongTries: number } | null
}

/** What Prisma must select of a user for a `RosterUser`. */
export const inRoster = {
  omit: { passwordHash: true },
  include: {
    authenticators: { select: { confirmedAt: true }, orderBy: { confirmedAt: 'asc' } },
    enrollment: { select: { expiresAt: true, wrongTries: true } },
    ssoIdentities: { select: { issuer: true, clientId: true } },
    _count: { select: { recoveryCodes: true } }
  }
} as const

/**
 * Returns a user as the transaction leaves them, for the response to its act: after the commit, others may have changed or
 * deleted the user. The caller holds the lock on the user's row. Throws if the user does not exist.
 */
export function findHeld(
  transaction: Transaction,
  { accountId, userId }: UserKey
): Promise<RosterUser> {
  const where = { accountId_id: { accountId, id: userId } }
  return transaction.user.findUniqueOrThrow({ where, ...inRoster })
}

export function createRoster(prisma: PrismaClient) {
  async function read(where: Prisma.Sql, limit: number): Promise<RosterUser[]> {
    const rows = await prisma.$queryRaw<RosterRow[]>`
      SELECT u."accountId", u.id, u.email, u.role::text AS role, u."externalId", u."disabledAt",
        u."createdAt", u."lastSignInAt", u."codeLockedUntil", u."codeDisabledAt",
        u."requiredBy"::text AS "requiredBy", u."requiredSince", u."resetPendingSince",
        (SELECT coalesce(json_agg(json_build_object('confirmedAt', x."confirmedAt")
            ORDER BY x."confirmedAt"), '[]')
          FROM "Authenticator" x WHERE x."accountId" = u."accountId" AND x."userId" = u.id
        ) AS authenticators,
        (SELECT json_build_object('expiresAt', e."expiresAt", 'wrongTries', e."wrongTries")
          FROM "Enrollment" e WHERE e."accountId" = u."accountId" AND e."userId" = u.id
        ) AS enrollment,
        (SELECT coalesce(json_agg(json_build_object('issuer', s.issuer,
            'clientId', s."clientId")), '[]')
          FROM "SsoIdentity" s WHERE s."accountId" = u."accountId" AND s."userId" = u.id
        ) AS "ssoIdentities",
        (SELECT json_build_object('recoveryCodes', count(*))
          FROM "RecoveryCode" r WHERE r."accountId" = u."accountId" AND r."userId" = u.id
        ) AS "_count"
      FROM "User" u
      WHERE ${where}
      ORDER BY u.id
      LIMIT ${limit}`
    return rows.map(asRosterUser)
  }

  return {
    /** Returns a user, or null if they do not exist in this account. */
    async find({ accountId, userId }: UserKey): Promise<RosterUser | null> {
      const where = Prisma.sql`u."accountId" = ${accountId}::uuid AND u.id = ${userId}::uuid`
      const [user] = await read(where, 1)
      return user ?? null
    },

    /** Returns a page of users, oldest first: ids are UUIDv7, so their order is the order of creation. */
    async list(
      accountId: string,
      { limit, after, twoFactor, q, ...at }: RosterRequest
    ): Promise<Page<RosterUser>> {
      const conditions = [
        Prisma.sql`u."accountId" = ${accountId}::uuid`,
        ...(after === null ? [] : [Prisma.sql`u.id > ${after}::uuid`]),
        ...(twoFactor === null ? [] : demandsOf(twoFactor).map(asCondition(at))),
        ...(q === null ? [] : [contains(q)])
      ]
      return pageOf(await read(Prisma.join(conditions, ' AND '), limit + 1), limit)
    }
  }
}

type Circumstances = Pick<RosterRequest, 'policy' | 'now'>

/** The facts of core/two-factor in SQL. They are true or false, never NULL, so that NOT negates them. */
const FACTS: Record<keyof TwoFactorFacts, (at: Circumstances) => Prisma.Sql> = {
  isEnrolled: () => Prisma.sql`EXISTS (SELECT FROM "Authenticator" x
    WHERE x."accountId" = u."accountId" AND x."userId" = u.id)`,
  isEnrolling: ({ now }) => Prisma.sql`EXISTS (SELECT FROM "Enrollment" e
    WHERE e."accountId" = u."accountId" AND e."userId" = u.id
      AND e."expiresAt" > ${now}::timestamptz AND e."wrongTries" < ${ENROLLMENT_TRIES_MAX})`,
  isLocked: ({ now }) => Prisma.sql`(u."codeDisabledAt" IS NOT NULL
    OR u."codeLockedUntil" IS NOT NULL AND u."codeLockedUntil" > ${now}::timestamptz)`,
  isExempt: ({ policy }) => isExemptFrom(policy)
}

function asCondition(at: Circumstances) {
  return ([fact, value]: [keyof TwoFactorFacts, boolean]): Prisma.Sql =>
    value ? FACTS[fact](at) : Prisma.sql`NOT ${FACTS[fact](at)}`
}

// Not LIKE, because it treats some characters as patterns.
function contains(q: string): Prisma.Sql {
  return Prisma.sql`(strpos(u.email, ${storedAddress(q)}) > 0
    OR strpos(lower(u."externalId"), lower(${q})) > 0)`
}

function asRosterUser({ authenticators, enrollment, ...user }: RosterRow): RosterUser {
  return {
    ...user,
    authenticators: authenticators.map(({ confirmedAt }) => ({
      confirmedAt: new Date(confirmedAt)
    })),
    enrollment: enrollment && { ...enrollment, expiresAt: new Date(enrollment.expiresAt) }
  }
}
