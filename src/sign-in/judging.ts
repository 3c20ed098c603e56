// Judges codes and recovery codes. No verdict leaves the process before its attempt is recorded. A request that loses the
// race reads the user again and judges again, so concurrent guesses gain nothing.
import {
  type AttemptInput,
  type AttemptLimits,
  afterFailure,
  type PathState
} from '../core/attempts.ts'
import { noticeTo } from '../core/mail/notices.ts'
import { policyEnd, sessionEnd } from '../core/sessions.ts'
import { isProvider } from '../core/sso/providers.ts'
import { deviceToRemember, type NewDevice } from '../core/trusted-devices.ts'
import type { Subject, Subjects } from '../data/sign-in/subjects.ts'
import type { StepTokenKey } from '../data/sign-in/verdicts.ts'
import type { ActRecord } from '../data/trail/act-records.ts'
import {
  Problem,
  revokedCredential,
  stepUpRequired,
  supportIn,
  unavailable
} from '../wire/problem.ts'
import { codeRejected, notAdmitted } from './code-problems.ts'
import {
  admitGuess,
  attemptOn,
  attemptsRemainingAfter,
  type CodeGuessOptions,
  codeGuess,
  createPaths,
  type Guess,
  type Guesser,
  type Path,
  type RecoveryCodeGuessOptions,
  recoveryCodeGuess
} from './guesses.ts'

export interface JudgingOptions extends CodeGuessOptions, RecoveryCodeGuessOptions {
  subjects: Subjects
  codeAttempts: AttemptLimits
  /** The maximum age of the first factor behind a step-up. */
  sessionMaxSeconds: number
  now: () => Date
}

export interface Accepted {
  /** The user's state in which the guess was right. */
  subject: Subject
  /** The device that is trusted from now on; null if none was requested, or the account allows none. */
  device: NewDevice | null
}

export interface Judging {
  /** Accepts a right code, and only once. Throws the problem to send in all other cases. */
  acceptCode(guesser: Guesser, code: string): Promise<Accepted>
  /** Accepts a right recovery code, and only once. Throws the problem to send in all other cases. */
  acceptRecoveryCode(guesser: Guesser, recoveryCode: string): Promise<Accepted>
}

/** Every lost race means that another guess was recorded, and the budgets end the guesses long before this number. */
const RACES_MAX = 100

export function createJudging(options: JudgingOptions): Judging {
  const { subjects, audit, codeAttempts, sessionMaxSeconds: maxSeconds, now } = options
  const paths = createPaths(codeAttempts)
  const pathsOf = ({ firstFactor }: Guesser) => paths[firstFactor.kind]

  /** Judges the guess and records the verdict, until no other request has changed the user in between: a compare-and-set. */
  async function settle<Match>(guesser: Guesser, guess: Guess<Match>): Promise<Accepted> {
    const { stepToken } = guesser
    let judged = guesser.subject
    for (let race = 0; race < RACES_MAX; race++) {
      requireFirstFactor(guesser, judged, { maxSeconds, now: now() })
      const attempt = attemptOn(guess.path, judged, stepToken, now())
      requireAdmission(guesser, guess.path, judged, attempt.now)
      const device = deviceOf(guesser, judged, attempt.now)
      const match = await guess.judge(judged, attempt.now)
      if (match !== null) {
        if (await guess.recordRight(judged, match, device)) return { subject: judged, device }
      } else {
        const rejected = await recordWrong(guesser, guess, judged, attempt)
        if (rejected) throw rejected
      }
      judged = await readAgain(judged, stepToken)
    }
    throw unavailable()
  }

  /** Throws the problem for a guess that must not be judged: its path is closed, or its step token is spent. */
  function requireAdmission(guesser: Guesser, path: Path, subject: Subject, at: Date): void {
    const { stepToken } = guesser
    const admission = admitGuess(path, subject, stepToken, at)
    if (admission.admitted) return
    const { recovery } = pathsOf(guesser)
    const isOpen = admitGuess(recovery, subject, stepToken, at).admitted
    throw notAdmitted(admission, isOpen && subject.recoveryCodesRemaining > 0, at)
  }

  /** Records a failure. Returns the problem to throw, or null if the race is lost. */
  async function recordWrong<Match>(
    guesser: Guesser,
    guess: Guess<Match>,
    judged: Subject,
    attempt: AttemptInput
  ): Promise<Problem | null> {
    const next = afterFailure(attempt.path, attempt.limits, attempt.now)
    const attemptsRemaining = attemptsRemainingAfter(attempt, next)
    const record = failureRecord(guesser, judged, next, attemptsRemaining)
    const isAudited = await guess.recordWrong(judged, next, record)
    return isAudited ? codeRejected({ attemptsRemaining, isAudited }, attempt.now) : null
  }

  function failureRecord(
    { request, firstFactor }: Guesser,
    judged: Subject,
    next: PathState,
    attemptsRemaining: number
  ): ActRecord {
    const isDisabled = next.disabledAt !== null
    const event = audit.refusalOf(request, 'code-rejected', {
      details: {
        attemptsRemaining,
        lockedUntil: next.lockedUntil?.toISOString() ?? null,
        isDisabled
      }
    })
    if (!isDisabled) return { event, notice: null }
    const { recoveryCodesRemaining } = judged
    const details = { recoveryCodesRemaining, firstFactor: firstFactor.kind }
    return { event, notice: noticeTo(judged, event, 'codes_disabled', details) }
  }

  async function readAgain(judged: Subject, stepToken: StepTokenKey | null): Promise<Subject> {
    const subject = await subjects.find(judged, stepToken?.jti ?? null)
    if (!subject || subject.isDisabled || subject.epoch !== judged.epoch) throw revokedCredential()
    // The step token was valid when this request arrived. Another request has used it since.
    if (subject.stepToken?.isConsumed) {
      throw codeRejected({ attemptsRemaining: 0, isAudited: false }, now())
    }
    return subject
  }

  return {
    acceptCode: (guesser, code) =>
      settle(guesser, codeGuess(pathsOf(guesser).code, guesser, code, options)),

    acceptRecoveryCode: (guesser, recoveryCode) =>
      settle(guesser, recoveryCodeGuess(pathsOf(guesser).recovery, guesser, recoveryCode, options))
  }
}

/**
 * Throws if the account does not accept the first factor any more, or if it is too old for a step-up. The provider has
 * vouched for the first step of a link, so its replacement revokes the step token.
 */
function requireFirstFactor(
  { stepToken, firstFactor, link }: Guesser,
  { policy: { sso }, support }: Subject,
  limit: { maxSeconds: number; now: Date }
): void {
  if (stepToken === null) {
    if (sessionEnd(firstFactor, sso, limit)) throw stepUpRequired('login')
    return
  }
  if (link && !isProvider(sso, link)) throw revokedCredential()
  const end = policyEnd(firstFactor, sso)
  if (end === 'sso_required') throw new Problem('sso-required', supportIn({ support }))
  if (end) throw revokedCredential()
}

function deviceOf({ deviceId }: Guesser, { policy }: Subject, now: Date): NewDevice | null {
  return deviceId === null ? null : deviceToRemember(policy, deviceId, now)
}
