// How long the next try at a password has to wait. It is a delay for one address and one user, never a lock. So a stranger
// at another address cannot lock a user out (OWASP Authentication Cheat Sheet, login throttling).

/** Failures without a delay: the usual slips. */
const FREE_FAILURES = 3
const FIRST_DELAY_SECONDS = 1
/** Leaves a patient attacker four tries an hour. */
export const PASSWORD_DELAY_MAX_SECONDS = 15 * 60
/** The count starts again an hour after the first failure. */
export const PASSWORD_FAILURES_WINDOW_SECONDS = 60 * 60

/** Returns the seconds to wait after so many failures: 0 for the first three, then 1, 2, 4 … up to 15 minutes. */
export function passwordDelaySeconds(failures: number): number {
  if (failures <= FREE_FAILURES) return 0
  const doublings = failures - FREE_FAILURES - 1
  return Math.min(FIRST_DELAY_SECONDS * 2 ** doublings, PASSWORD_DELAY_MAX_SECONDS)
}
