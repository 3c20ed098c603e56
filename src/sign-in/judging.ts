// How a guess is judged. No verdict leaves before its attempt is on record: whoever loses the race for the record
// reads again and judges again, so parallel guesses buy nothing.
import type { FastifyRequest } from 'fastify'
import type { Audit } from '../audit/audit.ts'
import {
  type Admission,
  type AttemptInput,
  type AttemptLimits,
  admitAttempt,
  afterFailure,
  attemptsRemaining,
  type PathState,
  recoveryAttempts
} from '../core/attempts.ts'
import type { AuditDetails } from '../core/audit/events.ts'
import { noticeTo } from '../core/mail/notices.ts'
import { matchCode } from '../core/totp.ts'
import { deviceToRemember, type NewDevice } from '../core/trusted-devices.ts'
import type { RecoveryCodeHasher } from '../crypto/recovery-code-hashing.ts'
import type { Sealer } from '../crypto/sealing.ts'
import type { Subject, Subjects } from '../data/sign-in/subjects.ts'
import type { StepTokenKey, Verdicts } from '../data/sign-in/verdicts.ts'
import type { ActRecord } from '../data/trail/act-records.ts'
import type { RecoveryCodes } from '../data/users/recovery-codes.ts'
import { Problem, revokedCredential, unavailable } from '../wire/problem.ts'

export interface JudgingOptions {
  subjects: Subjects
  verdicts: Verdicts
  recoveryCodes: RecoveryCodes
  recoveryCodeHasher: RecoveryCodeHasher
  secretSealer: Sealer
  audit: Audit
  codeAttempts: AttemptLimits
  now: () => Date
}

/** Who guesses, and in which request. */
export interface Guesser {
  request: FastifyRequest
  subject: Subject
  /** Null under an access token. */
  stepToken: StepTokenKey | null
  /** Of the device that is to be trusted from then on; null for none. */
  deviceId: string | null
}

export interface Accepted {
  /** The state that the guess was right in. */
  subject: Subject
  /** The device that is trusted from now on; null where none was to be, or the account has none. */
  device: NewDevice | null
}

export interface Judging {
  /** Accepts a code, once. Throws the problem to answer for all else. */
  acceptCode(guesser: Guesser, code: string): Promise<Accepted>
  /** The same for a recovery code. */
  acceptRecoveryCode(guesser: Guesser, recoveryCode: string): Promise<Accepted>
}

/** One guess on one path. */
interface Guess extends Path {
  /** The write that records the success, and makes the device trusted; null when the guess is wrong. */
  match(subject: Subject, device: NewDevice | null): Promise<(() => Promise<boolean>) | null>
  /** The write that records the failure. */
  recordWrong(subject: Subject, next: PathState, record: ActRecord): Promise<boolean>
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
  audit,
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

  async function settle(guesser: Guesser, guess: Guess): Promise<Accepted> {
    const { stepToken, deviceId } = guesser
    let judged = guesser.subject
    for (let race = 0; race < RACES_MAX; race++) {
      const attempt = attemptOn(guess, judged, stepToken, now())
      requireAdmission(attempt, judged, stepToken)
      const device = deviceId === null ? null : deviceToRemember(judged.policy, deviceId, now())
      const accept = await guess.match(judged, device)
      if (accept ? await accept() : await isFailureRecorded(guesser, guess, judged, attempt)) {
        return { subject: judged, device }
      }
      judged = await readAgain(judged, stepToken)
    }
    throw unavailable()
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
    { request }: Guesser,
    guess: Guess,
    judged: Subject,
    attempt: AttemptInput
  ): Promise<false> {
    const next = afterFailure(attempt.path, attempt.limits, attempt.now)
    const remaining = attemptsRemainingAfter(attempt, next)
    const event = audit.refusalOf(request, 'code-rejected', {
      details: {
        attemptsRemaining: remaining,
        lockedUntil: next.lockedUntil?.toISOString() ?? null,
        isDisabled: next.disabledAt !== null
      }
    })
    const { recoveryCodesRemaining } = judged
    const notice = next.disabledAt
      ? noticeTo(judged, event, 'codes_disabled', { recoveryCodesRemaining })
      : null
    const isAudited = await guess.recordWrong(judged, next, { event, notice })
    if (isAudited) throw codeRejected(remaining, attempt.now, { isAudited })
    return false
  }

  async function readAgain(judged: Subject, stepToken: StepTokenKey | null): Promise<Subject> {
    const subject = await subjects.find(judged, stepToken?.jti ?? null)
    if (!subject || subject.isDisabled || subject.epoch !== judged.epoch) throw revokedCredential()
    // The step token was good when this request came in; its success belongs to another request now.
    if (subject.stepToken?.isConsumed) throw codeRejected(0, now())
    return subject
  }

  return {
    acceptCode(guesser, code) {
      const { request, stepToken } = guesser
      const guess: Guess = {
        ...codePath,
        async match(judged, device) {
          const accepted = acceptedBy(judged, code, secretSealer, now())
          if (!accepted) return null
          const { authenticatorId } = accepted
          const details = { authenticatorId, ...onDevice(device) }
          const record = { event: audit.succeeded(request, { details }), notice: null, device }
          return () => verdicts.acceptCode(judged, stepToken, accepted, record)
        },
        recordWrong: (judged, next, record) =>
          verdicts.recordWrongCode(judged, stepToken, next, record)
      }
      return settle(guesser, guess)
    },

    acceptRecoveryCode(guesser, recoveryCode) {
      const { request, subject, stepToken } = guesser
      const hash = recoveryCodeHasher.hash(recoveryCode, subject)
      const guess: Guess = {
        ...recoveryPath,
        async match(judged, device) {
          if (!(await recoveryCodes.isStored(judged, hash))) return null
          const event = audit.succeeded(request, { details: device && onDevice(device) })
          const remaining = judged.recoveryCodesRemaining - 1
          const notice = noticeTo(judged, event, 'recovery_code_used', { remaining })
          const record = { event, notice, device }
          return () => verdicts.acceptRecoveryCode(judged, stepToken, hash, record)
        },
        recordWrong: (judged, next, record) =>
          verdicts.recordWrongRecoveryCode(judged, stepToken, next, record)
      }
      return settle(guesser, guess)
    }
  }
}

function onDevice(device: NewDevice | null): AuditDetails {
  return device ? { deviceId: device.id } : {}
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

function codeRejected(
  attemptsRemaining: number,
  now: Date,
  { isAudited = false }: { isAudited?: boolean } = {}
): Problem {
  return new Problem('code-rejected', {
    isAudited,
    detail:
      'This code is not good. Each code works once: wait for the next one, and check that the clock of the phone is right.',
    extras: { attemptsRemaining, serverTime: now.toISOString() }
  })
}
