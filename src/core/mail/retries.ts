// When a mail that the mail server did not take is tried again, and when it is not.

/** RFC 5321 §4.5.4.1: "the give-up time generally needs to be at least 4-5 days". */
export const MAIL_GIVEN_UP_AFTER_SECONDS = 5 * 24 * 60 * 60

/** A server that restarts is back by then, and the sooner somebody is warned, the better. */
const FIRST_WAIT_SECONDS = 5
/** A server that is back after days gets what has waited within the hour. */
const WAIT_MAX_SECONDS = 60 * 60

export interface FailedTry {
  /** When it happened what the mail tells about. */
  occurredAt: Date
  /** How often it was tried, this time included. */
  tries: number
}

/** When to try next: 5 seconds after the first try, then 10, 20 … up to an hour. Null: no more. */
export function nextTryAt({ occurredAt, tries }: FailedTry, now: Date): Date | null {
  if (occurredAt <= tooOldToTell(now)) return null
  const waitSeconds = Math.min(FIRST_WAIT_SECONDS * 2 ** (tries - 1), WAIT_MAX_SECONDS)
  return new Date(now.getTime() + waitSeconds * 1000)
}

/** What happened before this instant is too old to be told now. */
export function tooOldToTell(now: Date): Date {
  return new Date(now.getTime() - MAIL_GIVEN_UP_AFTER_SECONDS * 1000)
}

/** What a mail server answered instead of taking a mail. */
export interface Refusal {
  /** The command that it answered, as in `RCPT TO`. */
  command: string
  responseCode: number
  /** Its whole answer, with the enhanced status code (RFC 3463) where it gives one. */
  response: string
}

/** Whether an answer is about this mail and its recipient, and no other mail fares better or worse for it. */
export function isAboutTheMail({ command }: Pick<Refusal, 'command'>): boolean {
  return command === 'RCPT TO' || command === 'DATA'
}

/** The replies of RFC 5321 §4.2.3 that say: not this recipient, not this content. */
const PERMANENT = new Set([550, 551, 552, 553, 554])
/**
 * Subjects of RFC 3463 §3 that are not the recipient's or the content's doing: the server's own state, the network, the
 * protocol, and policy, as in "5.7.1 relay access denied". Whoever runs the service can mend those.
 */
const ABOUT_US = /^\d{3}[ -]5\.[3457]\./

/** Whether another try would hear the same: the recipient or the content is refused, and not we. */
export function isRefusedForGood(refusal: Refusal): boolean {
  return (
    isAboutTheMail(refusal) &&
    PERMANENT.has(refusal.responseCode) &&
    !ABOUT_US.test(refusal.response)
  )
}
