// Computes, matches and describes RFC 6238 codes. Time is an argument. attempts.ts limits the guesses; the database
// ensures that each time step is used once.
import { createHmac, timingSafeEqual } from 'node:crypto'
import { counterToBytes, dynamicTruncate, truncateDigits } from '@otplib/core'
import { generateURI, ScureBase32Plugin } from 'otplib'

/** The only three values that all common authenticator apps support (RFC 6238 §1.2, Key URI Format). */
export const TOTP_ALGORITHM = 'SHA1'
export const TOTP_DIGITS = 6
export const TOTP_PERIOD_SECONDS = 30

/**
 * Time steps accepted on each side of the current one. RFC 6238 §5.2 recommends at most one for network delay. We accept
 * one for fast phones too. This is wider than OWASP ASVS 6.5.5 allows, and it halves the number of users whom a wrong
 * clock locks out.
 */
const TIME_STEP_TOLERANCE = 1

/** How far from now the set-up searches for a code, to tell the user how wrong the phone's clock is. */
const SKEW_SEARCH_STEPS = 20

const base32 = new ScureBase32Plugin()

type CodeMatch =
  | { accepted: true; timeStep: number }
  | { accepted: false; reason: 'mismatch' | 'replayed' }

interface CodeAttempt {
  secret: Uint8Array
  /** Six ASCII digits. Other text never matches. */
  code: string
  at: Date
  /** The newest time step for which this secret was used; null before the first use. */
  lastTimeStep: number | null
}

/** Returns the RFC 6238 counter at an instant, with T0 = 1970-01-01T00:00:00Z. */
export function timeStepAt(at: Date): number {
  return Math.floor(at.getTime() / 1000 / TOTP_PERIOD_SECONDS)
}

/**
 * Decides whether a code is valid for a secret at an instant and unused (RFC 6238 §5.2). All time steps of the window are
 * computed and compared in constant time, so the duration does not show which one matched. The caller must still claim
 * the returned time step, since two requests may race.
 */
export function matchCode({ secret, code, at, lastTimeStep }: CodeAttempt): CodeMatch {
  const current = timeStepAt(at)
  const matching = stepsAround(current, TIME_STEP_TOLERANCE).filter((timeStep) =>
    isCodeOf(secret, timeStep, code)
  )
  const unused = matching.find((timeStep) => lastTimeStep === null || timeStep > lastTimeStep)
  if (unused !== undefined) return { accepted: true, timeStep: unused }
  return { accepted: false, reason: matching.length > 0 ? 'replayed' : 'mismatch' }
}

/**
 * Returns how many seconds the phone's clock is ahead of the server's (negative: behind), in whole time steps. Returns null
 * if the code is right for no time step within ten minutes. For set-up only: the user holds the key anyway there, while an
 * attacker who guesses must not learn this.
 */
export function measureClockSkew({
  secret,
  code,
  at
}: Pick<CodeAttempt, 'secret' | 'code' | 'at'>): number | null {
  const current = timeStepAt(at)
  const skews = stepsAround(current, SKEW_SEARCH_STEPS)
    .filter((timeStep) => isCodeOf(secret, timeStep, code))
    .map((timeStep) => (timeStep - current) * TOTP_PERIOD_SECONDS)
    .sort((one, other) => Math.abs(one) - Math.abs(other))
  return skews[0] ?? null
}

/** Returns the secret as a person types it: base32 (RFC 4648) without padding, in groups of four. */
export function setupKey(secret: Uint8Array): string {
  return (encodeSecret(secret).match(/.{1,4}/g) ?? []).join(' ')
}

/** Longer issuers are cut off on the screen of a phone. The same limit as for an issuer name of an account's own. */
const ISSUER_MAX_LENGTH = 64
/** The two joiners stay, because Persian and emoji need them. */
const UNFIT_FOR_LABEL =
  /(?:(?![\u200c\u200d])[\s:\p{Cc}\p{Cf}\p{Co}\p{Cs}\u115f\u1160\u2800\u3164\uffa0])+/gu

/** Returns the issuer that authenticator apps show for an account: its own, or one from its name. */
export function issuerOf(account: { issuerName: string | null; name: string }): string {
  return account.issuerName ?? issuerLabel(account.name)
}

/**
 * Returns the issuer for an account that has only a name. Accounts of earlier releases can have any name: in the label a colon
 * separates issuer and account name (Key URI Format), and invisible characters can make one name look like another.
 */
export function issuerLabel(name: string): string {
  const visible = name.replace(UNFIT_FOR_LABEL, ' ').trim()
  return [...visible].slice(0, ISSUER_MAX_LENGTH).join('').trim() || 'twostep'
}

/** Returns the `otpauth://` URI for the QR code (Key URI Format), with the label `issuer:accountName`. */
export function otpauthUri({
  secret,
  issuer,
  accountName
}: {
  secret: Uint8Array
  issuer: string
  accountName: string
}): string {
  return generateURI({
    strategy: 'totp',
    issuer,
    label: accountName,
    secret: encodeSecret(secret)
  })
}

function encodeSecret(secret: Uint8Array): string {
  return base32.encode(secret, { padding: false })
}

function stepsAround(current: number, tolerance: number): number[] {
  return Array.from(
    { length: 2 * tolerance + 1 },
    (_, index) => current - tolerance + index
  ).filter((timeStep) => timeStep >= 0)
}

function isCodeOf(secret: Uint8Array, timeStep: number, code: string): boolean {
  const expected = Buffer.from(hotp(secret, timeStep))
  const given = Buffer.from(code)
  return given.length === expected.length && timingSafeEqual(given, expected)
}

/** RFC 4226 §5.3. */
function hotp(secret: Uint8Array, counter: number): string {
  const mac = createHmac('sha1', secret).update(counterToBytes(counter)).digest()
  return truncateDigits(dynamicTruncate(mac), TOTP_DIGITS)
}
