// When a mail that the mail server did not accept is sent again, and when it is discarded.

/** RFC 5321 §4.5.4.1: "the give-up time generally needs to be at least 4-5 days". */
export const MAIL_GIVEN_UP_AFTER_SECONDS = 5 * 24 * 60 * 60

/** Long enough for a mail server to restart. Security notices should arrive early. */
const FIRST_WAIT_SECONDS = 5
/** After an outage of days, waiting mails are sent within an hour of its end. */
const WAIT_MAX_SECONDS = 60 * 60

interface FailedTry {
  /** When the event that the mail reports happened. */
  occurredAt: Date
  /** How often it was tried, including this time. */
  tries: number
}

/** Returns when to try next: 5 seconds after the first try, then 10, 20 … up to an hour. Null means never. */
export function nextTryAt({ occurredAt, tries }: FailedTry, now: Date): Date | null {
  if (occurredAt <= tooOldToTell(now)) return null
  const waitSeconds = Math.min(FIRST_WAIT_SECONDS * 2 ** (tries - 1), WAIT_MAX_SECONDS)
  return new Date(now.getTime() + waitSeconds * 1000)
}

/** Returns the instant before which an event is too old for a mail. */
export function tooOldToTell(now: Date): Date {
  return new Date(now.getTime() - MAIL_GIVEN_UP_AFTER_SECONDS * 1000)
}

/** The reply of a mail server that did not accept a mail. */
export interface Refusal {
  /** The command that it replied to, such as `RCPT TO`. */
  command: string
  responseCode: number
  /** The whole reply, with the enhanced status code (RFC 3463) if there is one. */
  response: string
}

/** Returns whether a reply concerns only this mail and its recipient, and says nothing about other mails. */
export function isAboutTheMail({ command }: Pick<Refusal, 'command'>): boolean {
  return command === 'RCPT TO' || command === 'DATA'
}

/** The replies of RFC 5321 §4.2.3 that reject this recipient or this content. */
const PERMANENT = new Set([550, 551, 552, 553, 554])
/**
 * Subjects of RFC 3463 §3 that neither the recipient nor the content causes: the server's own state, the network, the
 * protocol, and policy, as in "5.7.1 relay access denied". The operator can fix those.
 */
const ABOUT_US = /^\d{3}[ -]5\.[3457]\./

/** Returns whether every other try would fail too: the server rejects the recipient or the content, not our server. */
export function isRefusedForGood(refusal: Refusal): boolean {
  return (
    isAboutTheMail(refusal) &&
    PERMANENT.has(refusal.responseCode) &&
    !ABOUT_US.test(refusal.response)
  )
}
