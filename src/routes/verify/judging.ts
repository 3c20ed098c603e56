// How a guess is judged. No verdict leaves before its attempt is on record: whoever loses the race for the record
// reads again and judges again, so parallel guesses buy nothing.
import {
  type Admission,
  type AttemptInput,
  type AttemptLimits,
  admitAttempt,
  afterFailure,
  attemptsRemaining,
  type PathState,
  recoveryAttempts
} from '../../core/attempts.ts'
import type { RecoveryCodeHasher } from '../../core/recovery-codes.ts'
import type { Sealer } from '../../core/sealing.ts'
import { matchCode } from '../../core/totp.ts'
import type { RecoveryCodes } from '../../data/recovery-codes.ts'
import type { Subject, Subjects } from '../../data/subjects.ts'
import type { StepTokenKey, Verdicts } from '../../data/verdicts.ts'
import { deadCredential, Problem } from '../../problems.ts'

export interface JudgingOptions {
  subjects: Subjects
  verdicts: Verdicts
  recoveryCodes: RecoveryCodes
  recoveryCodeHasher: RecoveryCodeHasher
  secretSealer: Sealer
  codeAttempts: AttemptLimits
  now: () => Date
}

export interface Judging {
  /** Accepts a code, once. Returns the state it was right in; throws the problem to answer for all else. */
  acceptCode(subject: Subject, code: string, stepToken: StepTokenKey | null): Promise<Subject>
  /** The same for a recovery code. */
  acceptRecoveryCode(
    subject: Subject,
    recoveryCode: string,
    stepToken: StepTokenKey | null
  ): Promise<Subject>
}

/** One guess on one path. */
interface Guess extends Path {
  /** The write that records the success; null when the guess is wrong. */
  match(subject: Subject): Promise<(() => Promise<boolean>) | null>
  /** The write that records the failure. */
  recordWrong(subject: Subject, next: PathState): Promise<boolean>
}

interface Path {
  limits: AttemptLimits
  stateOf(subject: Subject): PathState
  attemptsUnder(stepToken: NonNullable<Subject['stepToken']>): number
}

/** Every lost race means that another guess was recorded, and the budgets end those long before this. */
const RACES_MAX = 100

export function createJudging({
  subjects,
  verdicts,
  recoveryCodes,
  recoveryCodeHasher,
  secretSealer,
  codeAttempts,
  now
}: JudgingOptions): Judging {
  const codePath: Path = {
    limits: codeAttempts,
    stateOf: (subject) => subject.codePath,
    attemptsUnder: (stepToken) => stepToken.codeAttempts
  }
  const recoveryPath: Path = {
    limits: recoveryAttempts(codeAttempts),
    stateOf: (subject) => subject.recoveryPath,
    attemptsUnder: (stepToken) => stepToken.recoveryAttempts
  }

  async function settle(
    subject: Subject,
    guess: Guess,
    stepToken: StepTokenKey | null
  ): Promise<Subject> {
    let judged = subject
    for (let race = 0; race < RACES_MAX; race++) {
      const attempt = attemptOn(guess, judged, stepToken, now())
      requireAdmission(attempt, judged, stepToken)
      const accept = await guess.match(judged)
      if (accept ? await accept() : await isFailureRecorded(guess, judged, attempt)) return judged
      judged = await readAgain(judged, stepToken)
    }
    throw new Problem('unavailable', { headers: { 'retry-after': '1' } })
  }

  function requireAdmission(
    attempt: AttemptInput,
    subject: Subject,
    stepToken: StepTokenKey | null
  ): void {
    const admission = admitAttempt(attempt)
    if (admission.admitted) return
    const recovery = attemptOn(recoveryPath, subject, stepToken, attempt.now)
    const recoveryOpen = admitAttempt(recovery).admitted && subject.recoveryCodesRemaining > 0
    throw refusal(admission, recoveryOpen, attempt.now)
  }

  /** Throws the answer to a wrong guess once it is on record. False: lost the race. */
  async function isFailureRecorded(
    guess: Guess,
    judged: Subject,
    attempt: AttemptInput
  ): Promise<false> {
    const next = afterFailure(attempt.path, attempt.limits, attempt.now)
    const isOnRecord = await guess.recordWrong(judged, next)
    if (isOnRecord) throw codeRejected(attemptsRemainingAfter(attempt, next), attempt.now)
    return false
  }

  async function readAgain(judged: Subject, stepToken: StepTokenKey | null): Promise<Subject> {
    const subject = await subjects.find(judged, stepToken?.jti ?? null)
    if (!subject || subject.isDisabled || subject.epoch !== judged.epoch) throw deadCredential()
    // The step token was good when this request came in; its success belongs to another request now.
    if (subject.stepToken?.isConsumed) throw codeRejected(0, now())
    return subject
  }

  return {
    acceptCode(subject, code, stepToken) {
      const guess: Guess = {
        ...codePath,
        async match(judged) {
          const at = now()
          const accepted = acceptedBy(judged, code, secretSealer, at)
          return accepted && (() => verdicts.acceptCode(judged, stepToken, accepted, at))
        },
        recordWrong: (judged, next) => verdicts.recordWrongCode(judged, stepToken, next)
      }
      return settle(subject, guess, stepToken)
    },

    acceptRecoveryCode(subject, recoveryCode, stepToken) {
      const candidates = recoveryCodeHasher.candidates(recoveryCode, subject)
      const guess: Guess = {
        ...recoveryPath,
        async match(judged) {
          const hash = await recoveryCodes.findStored(judged, candidates)
          return hash && (() => verdicts.acceptRecoveryCode(judged, stepToken, hash, now()))
        },
        recordWrong: (judged, next) => verdicts.recordWrongRecoveryCode(judged, stepToken, next)
      }
      return settle(subject, guess, stepToken)
    }
  }
}

/** The user's first authenticator that the code is good for, with the time step to claim; null for none. */
function acceptedBy(
  { accountId, userId, authenticators }: Subject,
  code: string,
  sealer: Sealer,
  at: Date
): { authenticatorId: string; timeStep: number } | null {
  for (const { id, sealedSecret, lastTimeStep } of authenticators) {
    const secret = sealer.unseal(sealedSecret, [accountId, userId, id])
    const match = matchCode({ secret, code, at, lastTimeStep })
    if (match.accepted) return { authenticatorId: id, timeStep: match.timeStep }
  }
  return null
}

function attemptOn(
  { limits, stateOf, attemptsUnder }: Path,
  subject: Subject,
  stepToken: StepTokenKey | null,
  now: Date
): AttemptInput {
  const soFar = subject.stepToken ? attemptsUnder(subject.stepToken) : 0
  return { path: stateOf(subject), stepTokenAttempts: stepToken && soFar, limits, now }
}

function attemptsRemainingAfter(attempt: AttemptInput, next: PathState): number {
  const { stepTokenAttempts } = attempt
  return attemptsRemaining({
    ...attempt,
    path: next,
    stepTokenAttempts: stepTokenAttempts === null ? null : stepTokenAttempts + 1
  })
}

function refusal(
  admission: Extract<Admission, { admitted: false }>,
  recoveryOpen: boolean,
  now: Date
): Problem {
  switch (admission.reason) {
    case 'disabled':
      return new Problem('authenticator-disabled')
    case 'locked': {
      const seconds = Math.ceil((admission.until.getTime() - now.getTime()) / 1000)
      return new Problem('too-many-attempts', {
        detail: `Too many wrong codes. Try again in ${seconds} seconds.`,
        extras: { scope: 'user', recoveryOpen },
        headers: { 'retry-after': String(seconds) }
      })
    }
    case 'step_token_spent':
      return new Problem('too-many-attempts', {
        detail: 'Too many wrong codes under this step token. Sign in again.',
        extras: { scope: 'step_token', recoveryOpen },
        // A new step token may be had at once.
        headers: { 'retry-after': '1' }
      })
  }
}

function codeRejected(attemptsRemaining: number, now: Date): Problem {
  return new Problem('code-rejected', {
    detail:
      'This code is not good. Each code works once: wait for the next one, and check that the clock of the phone is right.',
    extras: { attemptsRemaining, serverTime: now.toISOString() }
  })
}
