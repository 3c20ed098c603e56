// Records a right code: one by itself (`rightCode`), or many of concurrent requests in one statement
// (`uncontendedRightCodes`), in which each code still wins or loses by itself. Both must change the same rows.
import type { SignedAuditEvent } from '../../core/audit/events.ts'
import { inPlaces, on, prepare, raw, template, when } from '../engine/statements.ts'
import { recording } from '../trail/act-records.ts'
import { asEventRow, eventInsertFrom } from '../trail/audit-events.ts'
import { linking } from './sso-linking.ts'
import type { Subject } from './subjects.ts'
import { remembering } from './trusted-devices.ts'
import {
  type AcceptRecord,
  accountId,
  consume,
  eachWay,
  firstFactor,
  moveFrom,
  now,
  userId,
  type Verdict
} from './verdict-parts.ts'

export interface AcceptedCode {
  authenticatorId: string
  timeStep: number
}

export type RightCode = Verdict & { record: AcceptRecord } & AcceptedCode

/** A right code after a password and under a step token, with its event and without extras. */
export interface PlainRightCode {
  judged: Subject
  stepToken: { jti: string; expiresAt: Date }
  authenticatorId: string
  timeStep: number
  record: { event: SignedAuditEvent }
}

/** Returns whether a right code follows a password and has no extras except a step token. Most right codes are plain. */
export function isPlain(right: RightCode): right is RightCode & PlainRightCode {
  const { device, link, notice, firstFactor } = right.record
  const hasExtras = device !== null || link !== null || notice !== null
  return right.stepToken !== null && firstFactor.kind === 'password' && !hasExtras
}

const authenticatorId = (right: RightCode) => right.authenticatorId
const timeStep = (right: RightCode) => right.timeStep

/** Records one right code. Waits for a transaction that has locked the user's row. */
export const rightCode = eachWay<RightCode>((has) => {
  const clears = template<RightCode>`"codeFailures" = 0, "codeLockedUntil" = NULL,
    "ssoCodeFailures" = 0, "ssoCodeLockedUntil" = NULL, "ssoCodeDisabledAt" = NULL,
    "lastSignInAt" = ${now}::timestamptz`
  const isUnclaimed = template<RightCode>`EXISTS (SELECT 1 FROM "Authenticator"
    WHERE "accountId" = ${accountId}::uuid
      AND "userId" = ${userId}::uuid
      AND id = ${authenticatorId}::uuid
      AND "lastTimeStep" < ${timeStep})`
  return template`
    WITH ${firstFactor.policy} ${when(has.device, remembering.policy)} "user" AS (
      ${moveFrom(clears, template<RightCode>`AND ${isUnclaimed} ${firstFactor.isAccepted} ${when(has.device, remembering.isAllowed)} ${when(has.link, linking.isAdmitted)}`)}
    ), claimed AS (
      UPDATE "Authenticator" a SET "lastTimeStep" = ${timeStep},
        "lastUsedAt" = ${now}::timestamptz
      FROM "user" WHERE a."accountId" = "user"."accountId" AND a."userId" = "user".id
        AND a.id = ${authenticatorId}::uuid
    )
    ${when(has.stepToken, consume)} ${when(has.device, remembering.remembered)}
    ${when(has.link, linking.linked)}
    ${on(({ record }: RightCode) => record, recording('user', has))}
    SELECT EXISTS (SELECT 1 FROM "user") AS won`
})

/** A range that includes every place. It makes the planner expect few rows from a set of unknown size. */
const FEW = raw('place BETWEEN 0 AND 1000')

/**
 * Returns the places of the codes that it recorded. The others lost a race or met a locked row; the caller retries them
 * one at a time. The statement skips locked rows, so that no code waits for another user, and no two replicas wait for
 * each other. Of two codes of one user it records one. The planner must expect few rows. If it expected many, it would
 * join whole tables while those are small, and keep that plan after they have grown.
 */
export const uncontendedRightCodes = prepare(template<readonly PlainRightCode[]>`
  WITH tried AS MATERIALIZED (
    SELECT DISTINCT ON ("accountId", "userId") *
    FROM json_to_recordset(${(codes) => inPlaces(codes.map(asRow))}::json) AS one (
      place int, "accountId" uuid, "userId" uuid, "codePathVersion" int, epoch int,
      "authenticatorId" uuid, "timeStep" int, jti uuid, "expiresAt" timestamptz, now timestamptz,
      event json)
    WHERE ${FEW}
    ORDER BY "accountId", "userId", place
  ), won AS MATERIALIZED (
    SELECT tried.* FROM tried
    JOIN "User" u ON u."accountId" = tried."accountId" AND u.id = tried."userId"
    JOIN "Authenticator" a ON a."accountId" = tried."accountId" AND a."userId" = tried."userId"
      AND a.id = tried."authenticatorId"
    JOIN "Policy" p ON p."accountId" = tried."accountId" AND p."ssoMode" <> 'required'
    WHERE u."codePathVersion" = tried."codePathVersion" AND u.epoch = tried.epoch
      AND u."disabledAt" IS NULL AND a."lastTimeStep" < tried."timeStep"
    FOR NO KEY UPDATE OF u, a SKIP LOCKED
  ), "user" AS (
    UPDATE "User" u SET "codePathVersion" = u."codePathVersion" + 1, "codeFailures" = 0,
      "codeLockedUntil" = NULL, "ssoCodeFailures" = 0, "ssoCodeLockedUntil" = NULL,
      "ssoCodeDisabledAt" = NULL, "lastSignInAt" = won.now
    FROM won WHERE u."accountId" = won."accountId" AND u.id = won."userId"
  ), claimed AS (
    UPDATE "Authenticator" a SET "lastTimeStep" = won."timeStep", "lastUsedAt" = won.now
    FROM won WHERE a."accountId" = won."accountId" AND a."userId" = won."userId"
      AND a.id = won."authenticatorId"
  ), consumed AS (
    INSERT INTO "StepToken" ("accountId", "userId", jti, "expiresAt", "consumedAt")
    SELECT "accountId", "userId", jti, "expiresAt", now FROM won
    ON CONFLICT ("accountId", "userId", jti) DO UPDATE SET "consumedAt" = EXCLUDED."consumedAt"
  ), recorded AS (${eventInsertFrom('won')})
  SELECT place FROM won`)

function asRow({
  judged,
  stepToken,
  authenticatorId,
  timeStep,
  record: { event }
}: PlainRightCode) {
  const { accountId, userId, codePathVersion, epoch } = judged
  return {
    accountId,
    userId,
    codePathVersion,
    epoch,
    authenticatorId,
    timeStep,
    jti: stepToken.jti,
    expiresAt: stepToken.expiresAt,
    now: event.occurredAt,
    event: asEventRow(event)
  }
}
