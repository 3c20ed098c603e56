// Who may still guess. A guess is an attempt on a path: the code path, or the recovery path, each with its own
// state, so that closing one never closes the other. Pure: state and instant in, state out; that no
// verdict leaves before its attempt is on record is the compare-and-set's business (data/verdicts.ts).

export interface AttemptLimits {
  /** Attempts on one path under one step token. */
  perStepToken: number
  /** Failures in a row, over all step tokens and routes, that lock the path; and each as many again. */
  beforeLock: number
  lockSeconds: number
  /** Failures in a row that disable the path until a reset or a recovery code; null where none do. */
  beforeDisabled: number | null
}

/**
 * Five tries forgive the usual slips. Ten before a lock of a quarter of an hour leave a guesser 3 × 10 of 10^6
 * codes (three steps are good at a time) in 15 minutes, and 50 in a row before the path is disabled stay
 * under the 100 that NIST SP 800-63B-4 §3.2.2 allows: in all a chance of 1 in 6,667.
 */
export const CODE_ATTEMPTS = {
  perStepToken: 5,
  beforeLock: 10,
  lockSeconds: 15 * 60,
  beforeDisabled: 50
} as const satisfies AttemptLimits

/** A recovery code has 120 bits: the lock only bounds the work, and nothing is gained by disabling. */
export function recoveryAttempts(codeAttempts: AttemptLimits): AttemptLimits {
  return { ...codeAttempts, beforeDisabled: null }
}

export interface PathState {
  /** Failures since the last full success. */
  failures: number
  lockedUntil: Date | null
  disabledAt: Date | null
}

/** A path nobody has failed on. */
export const CLEAR: PathState = { failures: 0, lockedUntil: null, disabledAt: null }

export type Admission =
  | { admitted: true }
  | { admitted: false; reason: 'disabled' }
  | { admitted: false; reason: 'locked'; until: Date }
  | { admitted: false; reason: 'step_token_spent' }

export interface AttemptInput {
  path: PathState
  /** Attempts already recorded under the step token; null for an access token, which has no such budget. */
  stepTokenAttempts: number | null
  limits: AttemptLimits
  now: Date
}

/** Whether no guess on a path is judged just now, under whatever token. */
export function isClosed(
  { lockedUntil, disabledAt }: Pick<PathState, 'lockedUntil' | 'disabledAt'>,
  now: Date
): boolean {
  return disabledAt !== null || (lockedUntil !== null && lockedUntil > now)
}

/** Decides whether one more guess is looked at at all. While it is not, even a right code changes nothing. */
export function admitAttempt({ path, stepTokenAttempts, limits, now }: AttemptInput): Admission {
  if (path.disabledAt) return { admitted: false, reason: 'disabled' }
  if (path.lockedUntil && path.lockedUntil > now) {
    return { admitted: false, reason: 'locked', until: path.lockedUntil }
  }
  if (stepTokenAttempts !== null && stepTokenAttempts >= limits.perStepToken) {
    return { admitted: false, reason: 'step_token_spent' }
  }
  return { admitted: true }
}

/** The path after one more wrong guess: counted, and perhaps locked or disabled by it. */
export function afterFailure(path: PathState, limits: AttemptLimits, now: Date): PathState {
  const failures = path.failures + 1
  const isDisabled = limits.beforeDisabled !== null && failures >= limits.beforeDisabled
  const isLocked = failures % limits.beforeLock === 0
  return {
    failures,
    lockedUntil: isLocked ? new Date(now.getTime() + limits.lockSeconds * 1000) : path.lockedUntil,
    disabledAt: isDisabled ? now : null
  }
}

/** How many more wrong guesses would still be judged, by the tightest of the budgets; 0 once one is spent. */
export function attemptsRemaining({ path, stepTokenAttempts, limits, now }: AttemptInput): number {
  if (!admitAttempt({ path, stepTokenAttempts, limits, now }).admitted) return 0
  const underToken =
    stepTokenAttempts === null ? Number.POSITIVE_INFINITY : limits.perStepToken - stepTokenAttempts
  const untilLock = limits.beforeLock - (path.failures % limits.beforeLock)
  const untilDisabled =
    limits.beforeDisabled === null
      ? Number.POSITIVE_INFINITY
      : Math.max(1, limits.beforeDisabled - path.failures)
  return Math.min(underToken, untilLock, untilDisabled)
}
