// The problems that end a guess, for codes and recovery codes alike.
import type { Admission } from '../core/attempts.ts'
import { Problem } from '../wire/problem.ts'

/** Returns the problem for a guess that is not judged. It never says whether the code was right. */
export function notAdmitted(
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
        detail: 'Too many wrong codes with this step token. Sign in again.',
        extras: { scope: 'step_token', recoveryOpen },
        // The user can get a new step token immediately.
        headers: { 'retry-after': '1' }
      })
  }
}

/** Returns the problem for a wrong code. `isAudited` says whether its audit event is written. */
export function codeRejected(
  { attemptsRemaining, isAudited }: { attemptsRemaining: number; isAudited: boolean },
  now: Date
): Problem {
  return new Problem('code-rejected', {
    isAudited,
    detail:
      'The code is wrong, expired or already used. Wait for the next code, and check that the clock of the phone is right.',
    extras: { attemptsRemaining, serverTime: now.toISOString() }
  })
}
