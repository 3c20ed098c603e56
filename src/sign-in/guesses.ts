// The two kinds of guess: a code from an authenticator app, and a recovery code. Each has its own path with its own budget.
import type { FastifyRequest } from 'fastify'
import type { Audit } from '../audit/audit.ts'
import {
  type Admission,
  type AttemptInput,
  type AttemptLimits,
  admitAttempt,
  attemptsRemaining,
  type PathState,
  recoveryAttempts
} from '../core/attempts.ts'
import type { AuditDetails, SignedAuditEvent } from '../core/audit/events.ts'
import type { FirstFactor, SsoLink } from '../core/claims.ts'
import { noticeTo } from '../core/mail/notices.ts'
import { matchCode } from '../core/totp.ts'
import type { NewDevice } from '../core/trusted-devices.ts'
import { generateId } from '../crypto/ids.ts'
import type { RecoveryCodeHasher } from '../crypto/recovery-code-hashing.ts'
import type { Sealer } from '../crypto/sealing.ts'
import type { NewSsoLink } from '../data/sign-in/sso-linking.ts'
import type { Subject } from '../data/sign-in/subjects.ts'
import type { AcceptedCode, PathName, StepTokenKey, Verdicts } from '../data/sign-in/verdicts.ts'
import type { ActRecord } from '../data/trail/act-records.ts'
import type { RecoveryCodes } from '../data/users/recovery-codes.ts'

/** The user who guesses, and the request that contains the guess. */
export interface Guesser {
  request: FastifyRequest
  subject: Subject
  /** Null if the caller has an access token. */
  stepToken: StepTokenKey | null
  firstFactor: FirstFactor
  /** The device to trust after a right guess; null for none. */
  deviceId: string | null
  /** The identity that a right guess links to the user; null for none. */
  link: SsoLink | null
}

/** A budget of attempts, and how to read a user's use of it. */
export interface Path {
  name: PathName
  /** The path after a password, which closes this one too; null if this is that path. */
  own: Path | null
  limits: AttemptLimits
  stateOf(subject: Subject): PathState
  attemptsUnder(stepToken: NonNullable<Subject['stepToken']>): number
}

/** One guess on one path. Both `record` functions return false if another request changed the user first. */
export interface Guess<Match> {
  path: Path
  /** Returns what the guess matched, or null if it is wrong. Records nothing. */
  judge(judged: Subject, at: Date): Promise<Match | null>
  /** Records the success and its audit event, and makes the device trusted. */
  recordRight(judged: Subject, match: Match, device: NewDevice | null): Promise<boolean>
  /** Records the failure and its audit event, and moves the path to `next`. */
  recordWrong(judged: Subject, next: PathState, record: ActRecord): Promise<boolean>
}

/** The paths of one kind of first factor. */
export interface Paths {
  code: Path
  recovery: Path
}

/**
 * Creates the paths. The path of codes never closes the one of recovery codes, nor the reverse. Guesses after single sign-on
 * have budgets of their own: an attacker who controls the provider could otherwise close the paths of a user without the
 * password. A path that is closed after a password is closed after single sign-on too.
 */
export function createPaths(codeAttempts: AttemptLimits): Record<FirstFactor['kind'], Paths> {
  const code: Path = {
    name: 'code',
    own: null,
    limits: codeAttempts,
    stateOf: (subject) => subject.codePath,
    attemptsUnder: (stepToken) => stepToken.codeAttempts
  }
  const recovery: Path = {
    name: 'recovery',
    own: null,
    limits: recoveryAttempts(codeAttempts),
    stateOf: (subject) => subject.recoveryPath,
    attemptsUnder: (stepToken) => stepToken.recoveryAttempts
  }
  return {
    password: { code, recovery },
    sso: {
      code: { ...code, name: 'ssoCode', own: code, stateOf: (subject) => subject.ssoCodePath },
      recovery: {
        ...recovery,
        name: 'ssoRecovery',
        own: recovery,
        stateOf: (subject) => subject.ssoRecoveryPath
      }
    }
  }
}

/** Decides whether the next guess on the path is judged. */
export function admitGuess(
  path: Path,
  subject: Subject,
  stepToken: StepTokenKey | null,
  now: Date
): Admission {
  const byOwn = path.own && admitGuess(path.own, subject, null, now)
  if (byOwn && !byOwn.admitted) return byOwn
  return admitAttempt(attemptOn(path, subject, stepToken, now))
}

/** Returns what decides whether the next guess on the path is judged. */
export function attemptOn(
  { limits, stateOf, attemptsUnder }: Path,
  subject: Subject,
  stepToken: StepTokenKey | null,
  now: Date
): AttemptInput {
  const soFar = subject.stepToken ? attemptsUnder(subject.stepToken) : 0
  return { path: stateOf(subject), stepTokenAttempts: stepToken && soFar, limits, now }
}

/** Returns how many more wrong guesses are judged after this attempt has failed. */
export function attemptsRemainingAfter(attempt: AttemptInput, next: PathState): number {
  const { stepTokenAttempts } = attempt
  return attemptsRemaining({
    ...attempt,
    path: next,
    stepTokenAttempts: stepTokenAttempts === null ? null : stepTokenAttempts + 1
  })
}

export interface CodeGuessOptions {
  verdicts: Verdicts
  secretSealer: Sealer
  audit: Audit
}

/** Returns the guess of a code. A right code claims its time step, so it is accepted only once (RFC 6238 §5.2). */
export function codeGuess(
  path: Path,
  { request, stepToken, firstFactor, link }: Guesser,
  code: string,
  { verdicts, secretSealer, audit }: CodeGuessOptions
): Guess<AcceptedCode> {
  return {
    path,
    judge: async (judged, at) => firstMatch(judged, code, secretSealer, at),
    recordRight(judged, accepted, device) {
      const details = { authenticatorId: accepted.authenticatorId, ...detailsOf(device, link) }
      const event = audit.succeeded(request, { details })
      const until = device?.expiresAt.toISOString()
      const notice = until ? noticeTo(judged, event, 'device_trusted', { until }) : null
      return verdicts.acceptCode(judged, stepToken, accepted, {
        event,
        notice,
        device,
        link: link && newLink(judged, link, event),
        firstFactor
      })
    },
    recordWrong: (judged, next, record) =>
      verdicts.recordWrong(path.name, judged, stepToken, next, record)
  }
}

export interface RecoveryCodeGuessOptions {
  verdicts: Verdicts
  recoveryCodes: RecoveryCodes
  recoveryCodeHasher: RecoveryCodeHasher
  audit: Audit
}

/** Returns the guess of a recovery code. A right one is used up, and the user is notified. */
export function recoveryCodeGuess(
  path: Path,
  { request, subject, stepToken, firstFactor, link }: Guesser,
  recoveryCode: string,
  { verdicts, recoveryCodes, recoveryCodeHasher, audit }: RecoveryCodeGuessOptions
): Guess<Uint8Array> {
  const hash = recoveryCodeHasher.hash(recoveryCode, subject)
  return {
    path,
    judge: async (judged) => ((await recoveryCodes.isStored(judged, hash)) ? hash : null),
    recordRight(judged, stored, device) {
      const details = device || link ? detailsOf(device, link) : null
      const event = audit.succeeded(request, { details })
      const remaining = judged.recoveryCodesRemaining - 1
      const trusted = device ? { trustedUntil: device.expiresAt.toISOString() } : {}
      const notice = noticeTo(judged, event, 'recovery_code_used', { remaining, ...trusted })
      return verdicts.acceptRecoveryCode(judged, stepToken, stored, {
        event,
        notice,
        device,
        link: link && newLink(judged, link, event),
        firstFactor
      })
    },
    recordWrong: (judged, next, record) =>
      verdicts.recordWrong(path.name, judged, stepToken, next, record)
  }
}

function detailsOf(device: NewDevice | null, link: SsoLink | null): AuditDetails {
  return {
    ...(device ? { deviceId: device.id } : {}),
    ...(link ? { linkedIssuer: link.issuer } : {})
  }
}

function newLink(user: Subject, link: SsoLink, event: SignedAuditEvent): NewSsoLink {
  return { ...link, id: generateId(), notice: noticeTo(user, event, 'sso_linked', {}) }
}

/** Returns the user's first authenticator that shows the code, with the time step to claim; null if none does. */
function firstMatch(
  { accountId, userId, authenticators }: Subject,
  code: string,
  sealer: Sealer,
  at: Date
): AcceptedCode | null {
  for (const { id, sealedSecret, lastTimeStep } of authenticators) {
    const secret = sealer.unseal(sealedSecret, [accountId, userId, id])
    const match = matchCode({ secret, code, at, lastTimeStep })
    if (match.accepted) return { authenticatorId: id, timeStep: match.timeStep }
  }
  return null
}
