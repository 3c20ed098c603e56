// The parts that the statements of a verdict share (right-codes.ts, recovery and wrong codes in verdicts.ts).
import type { FirstFactor } from '../../core/claims.ts'
import type { NewDevice } from '../../core/trusted-devices.ts'
import { prepare, raw, type Statement, type Template, template } from '../engine/statements.ts'
import type { ActRecord } from '../trail/act-records.ts'
import type { NewSsoLink } from './sso-linking.ts'
import type { Subject, UserKey } from './subjects.ts'

/** The step token under which a guess is made. */
export interface StepTokenKey {
  jti: string
  expiresAt: Date
}

/** The records that are written when a code is accepted. */
export interface AcceptRecord extends ActRecord {
  /** A device that becomes trusted; null for none. */
  device: NewDevice | null
  /** An identity at the account's provider that is linked to the user; null for none. */
  link: NewSsoLink | null
  /** The first factor of the session, which the account's policy must still accept. */
  firstFactor: FirstFactor
}

export interface Verdict {
  judged: Subject
  stepToken: StepTokenKey | null
  record: ActRecord & Partial<AcceptRecord>
}

/**
 * The optional parts of a verdict. A statement omits the parts it does not need, because even a CTE that writes nothing
 * costs time.
 */
export interface Extras {
  stepToken: boolean
  device: boolean
  link: boolean
  notice: boolean
}

/** Builds one statement for each combination of extras, when it is first needed. */
export function eachWay<Input extends Verdict>(build: (has: Extras) => Template<Input>) {
  const statements: Statement<Input>[] = []
  return ({ stepToken, record: { device, link, notice } }: Input): Statement<Input> => {
    const has = {
      stepToken: stepToken !== null,
      device: !!device,
      link: !!link,
      notice: notice !== null
    }
    const bits = [has.stepToken, has.device, has.link, has.notice].map(Number)
    const way = Number.parseInt(bits.join(''), 2)
    statements[way] ??= prepare(build(has))
    return statements[way]
  }
}

export const accountId = ({ judged }: Verdict) => judged.accountId
export const userId = ({ judged }: Verdict) => judged.userId
export const now = ({ record }: Verdict) => record.event.occurredAt

// Every guess of a user, under any token, increments the same version, so all losers of a race are detected.
export function moveFrom<Input extends Verdict>(
  set: Template<Input>,
  guard: Template<Input> = raw('')
): Template<Input> {
  return template<Input>`
    UPDATE "User" SET "codePathVersion" = "codePathVersion" + 1, ${set}
    WHERE "accountId" = ${accountId}::uuid
      AND id = ${userId}::uuid
      AND "codePathVersion" = ${({ judged }) => judged.codePathVersion}
      AND epoch = ${({ judged }) => judged.epoch} AND "disabledAt" IS NULL ${guard}
    RETURNING "accountId", id`
}

/** The input of the CTEs that judge the first factor. */
export interface Completion {
  judged: UserKey
  record: Pick<AcceptRecord, 'firstFactor'>
}

/**
 * CTEs for a statement that completes a sign-in or a step-up. They lock the user's row and then the account's policy, in the order of every
 * transaction that locks both. A change of the policy then waits for this statement, or is visible here, and
 * `isAccepted` is false. `core/sessions` has the same rule.
 */
export const firstFactor = {
  policy: template<Completion>`held AS MATERIALIZED (
    SELECT "accountId" FROM "User"
    WHERE "accountId" = ${({ judged }) => judged.accountId}::uuid AND id = ${({ judged }) => judged.userId}::uuid
    FOR NO KEY UPDATE
  ), accepting AS MATERIALIZED (
    SELECT 1 FROM "Policy" p JOIN held ON p."accountId" = held."accountId"
    WHERE CASE ${({ record }) => record.firstFactor.kind}::text
      WHEN 'password' THEN p."ssoMode" <> 'required'
      ELSE p."ssoMode" <> 'off' AND p."ssoIssuer" = ${({ record }) => record.firstFactor.issuer}::text
    END
    FOR SHARE OF p
  ), `,
  isAccepted: raw('AND EXISTS (SELECT 1 FROM accepting)')
}

export const consume = template<Verdict>`, consumed AS (
  INSERT INTO "StepToken" ("accountId", "userId", jti, "expiresAt", "consumedAt")
  SELECT "accountId", id, ${({ stepToken }) => stepToken?.jti}::uuid,
    ${({ stepToken }) => stepToken?.expiresAt}::timestamptz, ${now}::timestamptz FROM "user"
  ON CONFLICT ("accountId", "userId", jti) DO UPDATE SET "consumedAt" = EXCLUDED."consumedAt"
)`
