// Where a user stands with two-factor. States and filters are one table of facts: what the roster is searched by and
// what its items say are both made of it, so they can't come apart.
import { isClosed } from './attempts.ts'
import type { AccountPolicy } from './policy.ts'

/** Whoever types codes in the set-up holds the key already, so this bounds the noise, not an attack. */
export const ENROLLMENT_TRIES_MAX = 10

export interface TwoFactorFacts {
  /** An authenticator is active, whether or not codes are judged just now. */
  isEnrolled: boolean
  /** An enrolment waits for its first code, and could still be confirmed. */
  isEnrolling: boolean
  /** No code is judged just now, or ever until a reset: too many were wrong. */
  isLocked: boolean
  /** Single sign-on stands in for the code. */
  isExempt: boolean
}

/** What must be so of the users whom a filter finds. */
const FILTERS = {
  enabled: { isEnrolled: true },
  disabled: { isEnrolled: false, isEnrolling: false },
  pending: { isEnrolled: false, isEnrolling: true },
  locked: { isLocked: true },
  exempt: { isExempt: true }
} as const satisfies Record<string, Partial<TwoFactorFacts>>

export type TwoFactorFilter = keyof typeof FILTERS
export const TWO_FACTOR_FILTERS = Object.keys(FILTERS) as TwoFactorFilter[]
export type TwoFactorState = Extract<TwoFactorFilter, 'enabled' | 'disabled' | 'pending'>

export interface PendingEnrollment {
  expiresAt: Date
  wrongTries: number
}

/** What of a user's rows the facts come from. */
export interface TwoFactorRows {
  authenticators: readonly object[]
  enrollment: PendingEnrollment | null
  codeLockedUntil: Date | null
  codeDisabledAt: Date | null
  ssoIdentities: readonly { issuer: string; clientId: string }[]
}

/** Whether an enrolment can still be confirmed. */
export function isConfirmable({ expiresAt, wrongTries }: PendingEnrollment, now: Date): boolean {
  return expiresAt > now && wrongTries < ENROLLMENT_TRIES_MAX
}

/** The facts at an instant, under the account's single sign-on; data/roster.ts has the same ones in SQL. */
export function twoFactorFacts(
  rows: TwoFactorRows,
  sso: AccountPolicy['sso'],
  now: Date
): TwoFactorFacts {
  const { authenticators, enrollment, codeLockedUntil, codeDisabledAt } = rows
  return {
    isEnrolled: authenticators.length > 0,
    isEnrolling: enrollment !== null && isConfirmable(enrollment, now),
    isLocked: isClosed({ lockedUntil: codeLockedUntil, disabledAt: codeDisabledAt }, now),
    isExempt: isExempt(rows, sso)
  }
}

/** Everybody, where there is no other door; else whoever has come through the client that is the account's now. */
function isExempt({ ssoIdentities }: TwoFactorRows, sso: AccountPolicy['sso']): boolean {
  if (sso.mode !== 'optional') return sso.mode === 'required'
  return ssoIdentities.some(
    ({ issuer, clientId }) => issuer === sso.issuer && clientId === sso.clientId
  )
}

/** The facts that a filter demands, each with the value that it must have. */
export function demandsOf(filter: TwoFactorFilter): [keyof TwoFactorFacts, boolean][] {
  return Object.entries(FILTERS[filter]) as [keyof TwoFactorFacts, boolean][]
}

/** Whether a filter finds a user of whom these facts are true. */
function isFoundBy(filter: TwoFactorFilter, facts: TwoFactorFacts): boolean {
  return demandsOf(filter).every(([fact, value]) => facts[fact] === value)
}

/** The one state that a user is in. */
export function twoFactorState(facts: TwoFactorFacts): TwoFactorState {
  if (isFoundBy('enabled', facts)) return 'enabled'
  if (isFoundBy('pending', facts)) return 'pending'
  return 'disabled'
}
