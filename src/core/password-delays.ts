// How long the next try at a password has to wait. A delay, never a lock: it binds one address to one user, so a
// stranger elsewhere can't keep anybody out (OWASP Authentication Cheat Sheet, login throttling).

/** Slips that cost nothing. */
const FREE_FAILURES = 3
const FIRST_DELAY_SECONDS = 1
/** What a patient guesser is left with: four tries an hour. */
export const PASSWORD_DELAY_MAX_SECONDS = 15 * 60
/** Failures are forgotten an hour after the first of them. */
export const PASSWORD_FAILURES_WINDOW_SECONDS = 60 * 60

/** Seconds to wait after so many failed passwords: 0 for the first three, then 1, 2, 4 … up to 15 minutes. */
export function passwordDelaySeconds(failures: number): number {
  if (failures <= FREE_FAILURES) return 0
  const doublings = failures - FREE_FAILURES - 1
  return Math.min(FIRST_DELAY_SECONDS * 2 ** doublings, PASSWORD_DELAY_MAX_SECONDS)
}
