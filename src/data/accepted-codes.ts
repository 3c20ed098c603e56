// Right codes, many at once: what `rightCode` (verdicts.ts) does for one, of all that came in together. Each of them is
// still won or lost by itself.
import type { SignedAuditEvent } from '../core/audit.ts'
import { type AuditEventRow, asEventRow } from './audit-events.ts'
import { inPlaces, prepare, template } from './statements.ts'
import type { Subject } from './subjects.ts'

/** A right code under a step token, with nothing that comes with it but its event. */
export interface PlainRightCode {
  judged: Subject
  stepToken: { jti: string; expiresAt: Date }
  authenticatorId: string
  timeStep: number
  record: { event: SignedAuditEvent }
}

interface Row {
  accountId: string
  userId: string
  codePathVersion: number
  epoch: number
  authenticatorId: string
  timeStep: number
  jti: string
  expiresAt: Date
  now: Date
  event: AuditEventRow
}

/**
 * Answers the places of those that are on record. All others were not tried to the end: somebody was faster, or is
 * writing to that user just now. It waits for no lock, so that none of them waits for another's user, and no two
 * replicas for each other; of two codes of one user it takes one. That there are few of them is said for the planner: for
 * many it would join whole tables while those are small, and keep that plan when they have grown.
 */
export const rightCodes = prepare(template<readonly PlainRightCode[]>`
  WITH "right" AS MATERIALIZED (
    SELECT DISTINCT ON ("accountId", "userId") *
    FROM json_to_recordset(${(codes) => inPlaces(codes.map(asRow))}::json) AS one (
      place int, "accountId" uuid, "userId" uuid, "codePathVersion" int, epoch int,
      "authenticatorId" uuid, "timeStep" int, jti uuid, "expiresAt" timestamptz, now timestamptz,
      event json)
    WHERE place BETWEEN 0 AND 1000
    ORDER BY "accountId", "userId", place
  ), won AS MATERIALIZED (
    SELECT "right".* FROM "right" JOIN "User" u
      ON u."accountId" = "right"."accountId" AND u.id = "right"."userId"
    WHERE u."codePathVersion" = "right"."codePathVersion" AND u.epoch = "right".epoch
      AND u."disabledAt" IS NULL
      AND EXISTS (SELECT 1 FROM "Authenticator" a
        WHERE a."accountId" = "right"."accountId" AND a."userId" = "right"."userId"
          AND a.id = "right"."authenticatorId" AND a."lastTimeStep" < "right"."timeStep")
    FOR NO KEY UPDATE OF u SKIP LOCKED
  ), "user" AS (
    UPDATE "User" u SET "codePathVersion" = u."codePathVersion" + 1, "codeFailures" = 0,
      "codeLockedUntil" = NULL, "lastSignInAt" = won.now
    FROM won WHERE u."accountId" = won."accountId" AND u.id = won."userId"
  ), claimed AS (
    UPDATE "Authenticator" a SET "lastTimeStep" = won."timeStep", "lastUsedAt" = won.now
    FROM won WHERE a."accountId" = won."accountId" AND a."userId" = won."userId"
      AND a.id = won."authenticatorId"
  ), consumed AS (
    INSERT INTO "StepToken" ("accountId", "userId", jti, "expiresAt", "consumedAt")
    SELECT "accountId", "userId", jti, "expiresAt", now FROM won
    ON CONFLICT ("accountId", "userId", jti) DO UPDATE SET "consumedAt" = EXCLUDED."consumedAt"
  ), recorded AS (
    INSERT INTO "AuditEvent"
    SELECT event.* FROM won, json_populate_record(NULL::"AuditEvent", won.event) AS event
  )
  SELECT place FROM won`)

function asRow({ judged, stepToken, authenticatorId, timeStep, record }: PlainRightCode): Row {
  const { accountId, userId, codePathVersion, epoch } = judged
  return {
    ...{ accountId, userId, codePathVersion, epoch, authenticatorId, timeStep },
    ...{ jti: stepToken.jti, expiresAt: stepToken.expiresAt },
    now: record.event.occurredAt,
    event: asEventRow(record.event)
  }
}
