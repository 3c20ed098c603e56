// Decides which guesses are still judged. A guess is an attempt on a path: the code path or the recovery path. Each path
// has its own state, so closing one never closes the other. These functions are pure: a state and an instant go in, a
// state comes out. The compare-and-set in data/sign-in/verdicts.ts records each attempt before its verdict is sent.

export interface AttemptLimits {
  /** Attempts on one path under one step token. */
  perStepToken: number
  /** Failures in a row, over all step tokens and routes, that lock the path. The same number again locks it again. */
  beforeLock: number
  lockSeconds: number
  /** Failures in a row that disable the path until a reset or a recovery code; null if none do. */
  beforeDisabled: number | null
}

/**
 * Five tries forgive the usual slips. Ten tries before a lock of 15 minutes let an attacker test 3 × 10 of 10^6 codes in
 * that time, because three time steps are accepted at any moment. The path is disabled after 50 failures in a row, below
 * the 100 that NIST SP 800-63B-4 §3.2.2 allows. Before that, an attacker's total chance is 1 in 6,667.
 */
export const CODE_ATTEMPTS = {
  perStepToken: 5,
  beforeLock: 10,
  lockSeconds: 15 * 60,
  beforeDisabled: 50
} as const satisfies AttemptLimits

/** Returns the limits for recovery codes. They have 120 bits, so a lock only bounds the work and disabling gains nothing. */
export function recoveryAttempts(codeAttempts: AttemptLimits): AttemptLimits {
  return { ...codeAttempts, beforeDisabled: null }
}

export interface PathState {
  /** Failures since the last full success. */
  failures: number
  lockedUntil: Date | null
  disabledAt: Date | null
}

/** The state of a path without failures. */
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

/** Returns whether the path is closed: no guess on it is judged now, under any token. */
export function isClosed(
  { lockedUntil, disabledAt }: Pick<PathState, 'lockedUntil' | 'disabledAt'>,
  now: Date
): boolean {
  return disabledAt !== null || (lockedUntil !== null && lockedUntil > now)
}

/** Decides whether the next guess is judged. If it is not, even a right code changes nothing. */
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

/** Returns the path after one more wrong guess. The guess is counted, and may lock or disable the path. */
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

/** Returns how many more wrong guesses would be judged under the tightest budget; 0 if any budget is spent. */
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
