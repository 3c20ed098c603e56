// Records each guess at a code by compare-and-set. Each method is one statement, and so one transaction: it makes all
// of its changes, including the audit event, or none, and only if the user is still in the state that was judged. It
// returns false if another request was faster, or if the user was reset or disabled meanwhile, or if the policy
// changed. The caller must then read and judge again.
import type { PathState } from '../../core/attempts.ts'
import { inBatches } from '../engine/batches.ts'
import {
  byPlace,
  type Clients,
  on,
  raw,
  type Statement,
  type Template,
  template,
  when
} from '../engine/statements.ts'
import { type ActRecord, recording } from '../trail/act-records.ts'
import { expiredBefore } from './expiry.ts'
import {
  type AcceptedCode,
  isPlain,
  type PlainRightCode,
  rightCode,
  uncontendedRightCodes
} from './right-codes.ts'
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
  type StepTokenKey,
  userId,
  type Verdict
} from './verdict-parts.ts'

export type { AcceptedCode } from './right-codes.ts'
export type { StepTokenKey } from './verdict-parts.ts'

/**
 * How long expired step tokens are kept. A replica whose clock is ahead would otherwise delete, for all replicas, the
 * fact that a token was consumed or its budget spent. No synchronised clock is off by an hour.
 */
const EXPIRED_KEPT_SECONDS = 60 * 60

export type Verdicts = ReturnType<typeof createVerdicts>

export function createVerdicts({ prisma, query }: Clients) {
  async function recordOne<Input>(statement: Statement<Input>, input: Input): Promise<boolean> {
    const [row] = await query<{ won: boolean }, Input>(statement, input)
    return row?.won === true
  }

  const recordInBatch = inBatches(async (codes: readonly PlainRightCode[]) => {
    const won = await query<{ place: number }, typeof codes>(uncontendedRightCodes, codes)
    return byPlace(codes, won).map((row) => row !== null)
  })

  return {
    /**
     * Counts a wrong guess against the user and the step token. Sets the path to the state `next`, which may lock or
     * disable it. Each path has a budget of its own.
     */
    recordWrong(
      path: PathName,
      judged: Subject,
      stepToken: StepTokenKey | null,
      next: PathState,
      record: ActRecord
    ): Promise<boolean> {
      const wrong = { judged, stepToken, next, record }
      return recordOne(WRONG_GUESSES[path](wrong), wrong)
    },

    /** Claims the time step, clears the failures of the code path, and consumes the step token. */
    async acceptCode(
      judged: Subject,
      stepToken: StepTokenKey | null,
      accepted: AcceptedCode,
      record: AcceptRecord
    ): Promise<boolean> {
      const right = { judged, stepToken, record, ...accepted }
      if (isPlain(right) && (await recordInBatch(right))) return true
      // The single statement waits for a transaction that has locked the user's row.
      return recordOne(rightCode(right), right)
    },

    /** Deletes the recovery code, opens both paths again, and consumes the step token. */
    acceptRecoveryCode(
      judged: Subject,
      stepToken: StepTokenKey | null,
      hash: Uint8Array,
      record: AcceptRecord
    ): Promise<boolean> {
      const right = { judged, stepToken, record, hash }
      return recordOne(rightRecoveryCode(right), right)
    },

    /** Deletes step tokens that expired more than an hour ago. Returns their number. */
    async forgetExpiredStepTokens(now: Date): Promise<number> {
      return prisma.$executeRaw`
        DELETE FROM "StepToken" WHERE ${expiredBefore(now, EXPIRED_KEPT_SECONDS)}`
    }
  }
}

type WrongCode = Verdict & { next: PathState }
type RightRecoveryCode = Verdict & { record: AcceptRecord; hash: Uint8Array }

const hash = (right: RightRecoveryCode) => right.hash

/** The columns of a path, and the budget of the step token that its guesses spend. */
const WRONG_GUESSES = {
  code: wrongGuess('code', 'codeAttempts'),
  recovery: wrongGuess('recovery', 'recoveryAttempts'),
  ssoCode: wrongGuess('ssoCode', 'codeAttempts'),
  ssoRecovery: wrongGuess('ssoRecovery', 'recoveryAttempts')
}

/** The paths of guesses: the kind of the code, after a password or after single sign-on. */
export type PathName = 'code' | 'recovery' | 'ssoCode' | 'ssoRecovery'

function wrongGuess(path: PathName, budget: 'codeAttempts' | 'recoveryAttempts') {
  const column = (name: string) => raw(`"${path}${name}"`)
  const isDisabling = path === 'code' || path === 'ssoCode'
  return eachWay<WrongCode>(
    (has) => template`
    WITH "user" AS (${moveFrom(template<WrongCode>`${column('Failures')} = ${({ next }) => next.failures},
      ${column('LockedUntil')} = ${({ next }) => next.lockedUntil}::timestamptz
      ${when(isDisabling, template<WrongCode>`, ${column('DisabledAt')} = ${({ next }) => next.disabledAt}::timestamptz`)}`)})
    ${when(has.stepToken, spend(budget))}
    ${on(({ record }: WrongCode) => record, recording('user', has))}
    SELECT EXISTS (SELECT 1 FROM "user") AS won`
  )
}

const rightRecoveryCode = eachWay<RightRecoveryCode>((has) => {
  const clears = template<RightRecoveryCode>`"codeFailures" = 0, "codeLockedUntil" = NULL,
    "codeDisabledAt" = NULL, "recoveryFailures" = 0, "recoveryLockedUntil" = NULL,
    "ssoCodeFailures" = 0, "ssoCodeLockedUntil" = NULL, "ssoCodeDisabledAt" = NULL,
    "ssoRecoveryFailures" = 0, "ssoRecoveryLockedUntil" = NULL,
    "lastSignInAt" = ${now}::timestamptz`
  const isUntaken = template<RightRecoveryCode>`EXISTS (SELECT 1 FROM "RecoveryCode"
    WHERE "accountId" = ${accountId}::uuid
      AND "userId" = ${userId}::uuid AND hash = ${hash})`
  return template`
    WITH ${firstFactor.policy} ${when(has.device, remembering.policy)} "user" AS (
      ${moveFrom(clears, template<RightRecoveryCode>`AND ${isUntaken} ${firstFactor.isAccepted} ${when(has.device, remembering.isAllowed)} ${when(has.link, linking.isAdmitted)}`)}
    ), taken AS (
      DELETE FROM "RecoveryCode" r USING "user"
      WHERE r."accountId" = "user"."accountId" AND r."userId" = "user".id
        AND r.hash = ${hash}
    )
    ${when(has.stepToken, consume)} ${when(has.device, remembering.remembered)}
    ${when(has.link, linking.linked)}
    ${on(({ record }: RightRecoveryCode) => record, recording('user', has))}
    SELECT EXISTS (SELECT 1 FROM "user") AS won`
})

function spend(budget: 'codeAttempts' | 'recoveryAttempts'): Template<Verdict> {
  const column = raw(`"${budget}"`)
  return template<Verdict>`, spent AS (
    INSERT INTO "StepToken" AS s ("accountId", "userId", jti, "expiresAt", ${column})
    SELECT "accountId", id, ${({ stepToken }) => stepToken?.jti}::uuid,
      ${({ stepToken }) => stepToken?.expiresAt}::timestamptz, 1 FROM "user"
    ON CONFLICT ("accountId", "userId", jti) DO UPDATE SET ${column} = s.${column} + 1
  )`
}
