// Reads a subject in one statement, and as one JSON value. The driver would otherwise parse each of thirty columns, in
// every request.
import type { PathState } from '../../core/attempts.ts'
import { NO_ACCOUNT } from '../../core/audit/events.ts'
import type { Role } from '../../core/claims.ts'
import type { BoundUser, Demands, SingleSignOn } from '../../core/policy.ts'
import type { Support } from '../../core/support.ts'
import { issuerOf } from '../../core/totp.ts'
import { requirementOf, type StoredRequirement } from '../../core/two-factor/requirements.ts'
import { inPlaces, prepare, raw, type Template, template } from '../engine/statements.ts'
import {
  asAccountPolicy,
  type DemandsReader,
  type PolicyRow,
  type SupportRow
} from '../policy/demands.ts'

interface SubjectAuthenticator {
  id: string
  name: string
  sealedSecret: string
  lastTimeStep: number
}

/** A snapshot of a user. Everything in it was true at the same instant, that of `codePathVersion`. */
export interface Subject extends Demands, BoundUser {
  accountId: string
  /** The issuer that authenticator apps show. */
  issuerName: string
  audience: string
  /** The contact that helps the user; null if there is none. */
  support: Support | null
  userId: string
  email: string
  isDisabled: boolean
  epoch: number
  codePathVersion: number
  /** The paths after a password. */
  codePath: PathState
  recoveryPath: PathState
  /** The paths after single sign-on. */
  ssoCodePath: PathState
  ssoRecoveryPath: PathState
  authenticators: SubjectAuthenticator[]
  recoveryCodesRemaining: number
  /** The attempts made under the step token that was asked for; null if there are none yet. */
  stepToken: { codeAttempts: number; recoveryAttempts: number; isConsumed: boolean } | null
}

export interface UserKey {
  accountId: string
  userId: string
}

export interface SubjectRow extends InJson<PolicyRow>, RequirementInJson, SupportRow {
  accountId: string
  accountName: string
  issuerName: string | null
  audience: string
  mandatedFrom: string | null
  mandateReason: string | null
  userId: string
  email: string
  role: Role
  passwordHash: string | null
  disabledAt: string | null
  epoch: number
  codePathVersion: number
  codeFailures: number
  codeLockedUntil: string | null
  codeDisabledAt: string | null
  recoveryFailures: number
  recoveryLockedUntil: string | null
  ssoCodeFailures: number
  ssoCodeLockedUntil: string | null
  ssoCodeDisabledAt: string | null
  ssoRecoveryFailures: number
  ssoRecoveryLockedUntil: string | null
  authenticators: SubjectAuthenticator[]
  recoveryCodesRemaining: number
  stepToken: Subject['stepToken']
}

/** The stored requirement of a user. A policy has members of the same names, so these have names of their own. */
interface RequirementInJson {
  userRequiredBy: StoredRequirement['requiredBy']
  userRequiredSince: string | null
  resetPendingSince: string | null
}

type InJson<Row> = {
  [Column in keyof Row]: Row[Column] extends Date | null ? string | null : Row[Column]
}

export interface SubjectKey extends UserKey {
  /** The id of a step token whose attempts are read too; null for none. */
  jti: string | null
}

export interface EmailKey {
  accountId: string
  email: string
}

/** Finds many subjects by their keys. Each row has the place of its key, from 0. A key without a user has no row. */
export const byKeys = prepare(template<readonly SubjectKey[]>`
  SELECT k.place, found.subject
  FROM json_to_recordset(${inPlaces}::json) AS k (place int, "accountId" uuid, "userId" uuid, jti uuid)
  CROSS JOIN LATERAL (${subjectWhere(
    raw('u."accountId" = k."accountId" AND u.id = k."userId"'),
    raw(`(SELECT json_build_object('codeAttempts', s."codeAttempts",
        'recoveryAttempts', s."recoveryAttempts", 'isConsumed', s."consumedAt" IS NOT NULL)
      FROM "StepToken" s
      WHERE s."accountId" = u."accountId" AND s."userId" = u.id AND s.jti = k.jti)`)
  )}) found`)

export const byEmail = prepare(
  subjectWhere(
    template<EmailKey>`u."accountId" = ${({ accountId }) => accountId}::uuid
      AND u.email = ${({ email }) => email}`,
    raw('NULL')
  )
)

export interface LoginKey {
  slug: string
  email: string
}

/** An account that a caller named, with the ways to sign in to it. */
export interface NamedAccount {
  id: string
  sso: SignInDoors
}

/** What a sign-in needs to know about single sign-on before its user is known. */
export type SignInDoors = Omit<SingleSignOn, 'since'>

/** The account with this slug, and its user with this address. */
export interface LoginRow {
  account: (NamedAccount & SupportRow) | null
  subject: SubjectRow | null
}

/**
 * Always returns one row. If the account does not exist, it still looks for a user, so that the response time does not
 * reveal which accounts exist.
 */
export const byLogin = prepare(template<LoginKey>`
  SELECT CASE WHEN named.id IS NOT NULL THEN json_build_object('id', named.id, 'sso',
    json_build_object('mode', doors."ssoMode", 'issuer', doors."ssoIssuer",
      'clientId', doors."ssoClientId", 'trustEmail', doors."ssoTrustEmail"),
    'supportUrl', named."supportUrl", 'supportEmail', named."supportEmail") END AS account,
    found.subject
  FROM (SELECT ${({ slug }) => slug}::text AS slug) AS asked
  LEFT JOIN "Account" named ON named.slug = asked.slug
  LEFT JOIN "Policy" doors ON doors."accountId" = named.id
  LEFT JOIN LATERAL (${subjectWhere(
    template<LoginKey>`u."accountId" = coalesce(named.id, ${raw(`'${NO_ACCOUNT}'`)}::uuid)
      AND u.email = ${({ email }) => email}`,
    raw('NULL')
  )}) found ON true`)

/** Reads one user at most. The limit prevents a plan that joins whole tables, even while they have few rows. */
function subjectWhere<Input>(
  isMeant: Template<Input>,
  stepToken: Template<Input>
): Template<Input> {
  return template<Input>`
    SELECT row_to_json(subject) AS subject FROM (
      SELECT u."accountId", a.name AS "accountName", a."issuerName", a.audience,
      a."supportUrl", a."supportEmail", p."twoFactor"::text AS "twoFactor",
      p."appliesTo"::text AS "appliesTo", p."requiredFrom", p."requiredSince", p."graceDays",
      p."trustedDevicesAllowed",
      p."trustedDeviceDays", p."ssoMode"::text AS "ssoMode", p."ssoIssuer", p."ssoClientId",
      p."ssoTrustEmail", p."ssoSince",
      m."requiredFrom" AS "mandatedFrom", m.reason AS "mandateReason",
      u.id AS "userId", u.email, u.role::text AS role, u."passwordHash", u."disabledAt", u.epoch,
      u."codePathVersion", u."codeFailures", u."codeLockedUntil", u."codeDisabledAt",
      u."recoveryFailures", u."recoveryLockedUntil", u."ssoCodeFailures", u."ssoCodeLockedUntil",
      u."ssoCodeDisabledAt", u."ssoRecoveryFailures", u."ssoRecoveryLockedUntil",
      u."requiredBy"::text AS "userRequiredBy", u."requiredSince" AS "userRequiredSince",
      u."resetPendingSince",
      (SELECT coalesce(json_agg(json_build_object('id', x.id, 'name', x.name,
          'sealedSecret', x."sealedSecret", 'lastTimeStep', x."lastTimeStep") ORDER BY x.id), '[]')
        FROM "Authenticator" x WHERE x."accountId" = u."accountId" AND x."userId" = u.id
      ) AS authenticators,
      (SELECT count(*)::int FROM "RecoveryCode" r
        WHERE r."accountId" = u."accountId" AND r."userId" = u.id) AS "recoveryCodesRemaining",
      ${stepToken} AS "stepToken"
    FROM "User" u
    JOIN "Account" a ON a.id = u."accountId"
    JOIN "Policy" p ON p."accountId" = u."accountId"
    LEFT JOIN "Mandate" m ON m."accountId" = u."accountId"
    WHERE ${isMeant} LIMIT 1
    ) subject`
}

export function asSubject(row: SubjectRow, demands: DemandsReader): Subject {
  const mandatedFrom = instantOf(row.mandatedFrom)
  const ofAccount = mandatedFrom && { requiredFrom: mandatedFrom, reason: row.mandateReason }
  return {
    accountId: row.accountId,
    issuerName: issuerOf({ issuerName: row.issuerName, name: row.accountName }),
    audience: row.audience,
    support: demands.supportOf(row),
    policy: asAccountPolicy(row, {
      requiredFrom: instantOf(row.requiredFrom),
      requiredSince: instantOf(row.requiredSince),
      ssoSince: instantOf(row.ssoSince)
    }),
    mandate: demands.mandateOf(ofAccount),
    userId: row.userId,
    email: row.email,
    role: row.role,
    requirement: requirementIn(row),
    isDisabled: row.disabledAt !== null,
    epoch: row.epoch,
    codePathVersion: row.codePathVersion,
    codePath: pathOf(row.codeFailures, row.codeLockedUntil, row.codeDisabledAt),
    recoveryPath: pathOf(row.recoveryFailures, row.recoveryLockedUntil),
    ssoCodePath: pathOf(row.ssoCodeFailures, row.ssoCodeLockedUntil, row.ssoCodeDisabledAt),
    ssoRecoveryPath: pathOf(row.ssoRecoveryFailures, row.ssoRecoveryLockedUntil),
    authenticators: row.authenticators,
    recoveryCodesRemaining: row.recoveryCodesRemaining,
    stepToken: row.stepToken
  }
}

function requirementIn(row: SubjectRow): BoundUser['requirement'] {
  const stored = {
    requiredBy: row.userRequiredBy,
    requiredSince: instantOf(row.userRequiredSince),
    resetPendingSince: instantOf(row.resetPendingSince)
  }
  return requirementOf(stored, row.authenticators.length > 0)
}

function pathOf(
  failures: number,
  lockedUntil: string | null,
  disabledAt: string | null = null
): PathState {
  return { failures, lockedUntil: instantOf(lockedUntil), disabledAt: instantOf(disabledAt) }
}

function instantOf(text: string | null): Date | null {
  return text === null ? null : new Date(text)
}
