// RFC 6238 codes: made, matched and described. Time is an argument; who may guess how often is
// attempts.ts's business, and that a step is used once is the database's.
import { createHmac, timingSafeEqual } from 'node:crypto'
import { counterToBytes, dynamicTruncate, truncateDigits } from '@otplib/core'
import { generateURI, ScureBase32Plugin } from 'otplib'

/** Authenticator apps in the field reliably know only these three values (RFC 6238 §1.2, Key URI Format). */
export const TOTP_ALGORITHM = 'SHA1'
export const TOTP_DIGITS = 6
export const TOTP_PERIOD_SECONDS = 30

/**
 * Steps accepted on each side of the current one. RFC 6238 §5.2 recommends at most one for network
 * delay; we grant the same to a fast phone, which is wider than OWASP ASVS 6.5.5 asks for and halves
 * the number of people who are locked out by their clock.
 */
export const TIME_STEP_TOLERANCE = 1

/** How far a phone's clock is searched at set-up, to tell its owner by how much it is wrong. */
const SKEW_SEARCH_STEPS = 20

const base32 = new ScureBase32Plugin()

export type CodeMatch =
  | { accepted: true; timeStep: number }
  | { accepted: false; reason: 'mismatch' | 'replayed' }

export interface CodeAttempt {
  secret: Uint8Array
  /** Six ASCII digits; anything else simply never matches. */
  code: string
  at: Date
  /** The newest time step this secret has been used for; null before the first. */
  lastTimeStep: number | null
}

/** The RFC 6238 counter at an instant, from T0 = 1970-01-01T00:00:00Z. */
export function timeStepAt(at: Date): number {
  return Math.floor(at.getTime() / 1000 / TOTP_PERIOD_SECONDS)
}

/**
 * Decides whether a code is good for a secret at an instant, once only (RFC 6238 §5.2). Every step of
 * the window is computed and compared in constant time, so the answer's timing tells nothing about
 * which one matched. The caller must still claim the step returned, since two requests may race.
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
 * By how many whole seconds the clock that showed this code is ahead of ours (negative: behind), when the
 * code is right for some step within ten minutes; otherwise null. For set-up only: whoever holds the key
 * anyway may learn this, a guesser must not.
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

/** The secret as a person types it: base32 (RFC 4648) without padding, in groups of four. */
export function setupKey(secret: Uint8Array): string {
  return (encodeSecret(secret).match(/.{1,4}/g) ?? []).join(' ')
}

/** An issuer as the label can hold it: the colon ends the issuer there (Key URI Format), so none may be inside. */
export function issuerLabel(name: string): string {
  return name.replace(/\s*:\s*/g, ' ').trim()
}

/** The `otpauth://` URI behind the QR code (Key URI Format), with label `issuer:accountName`. */
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
