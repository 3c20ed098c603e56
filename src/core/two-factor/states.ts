// The two-factor state of a user. States and filters come from one table of facts. The roster's search and its items both
// use it, so they always agree.
import { isClosed } from '../attempts.ts'
import type { AccountPolicy } from '../policy.ts'

/** Bounds noise, not an attack: the user who types codes during the set-up holds the key already. */
export const ENROLLMENT_TRIES_MAX = 10

export interface TwoFactorFacts {
  /** An authenticator is active, even if codes are locked. */
  isEnrolled: boolean
  /** An enrollment is pending and can still be confirmed. */
  isEnrolling: boolean
  /** Codes are locked, or disabled until a reset, after too many wrong ones. */
  isLocked: boolean
  /** Single sign-on replaces the code. */
  isExempt: boolean
}

/** The facts that hold for the users of each filter. */
const FILTERS = {
  enabled: { isEnrolled: true },
  disabled: { isEnrolled: false, isEnrolling: false },
  pending: { isEnrolled: false, isEnrolling: true },
  locked: { isLocked: true },
  exempt: { isExempt: true }
} as const satisfies Record<string, Partial<TwoFactorFacts>>

export type TwoFactorFilter = keyof typeof FILTERS
export const TWO_FACTOR_FILTERS = Object.keys(FILTERS) as TwoFactorFilter[]
type TwoFactorState = Extract<TwoFactorFilter, 'enabled' | 'disabled' | 'pending'>

interface PendingEnrollment {
  expiresAt: Date
  wrongTries: number
}

/** The rows of a user from which the facts follow. */
export interface TwoFactorRows {
  authenticators: readonly object[]
  enrollment: PendingEnrollment | null
  codeLockedUntil: Date | null
  codeDisabledAt: Date | null
  ssoIdentities: readonly { issuer: string; clientId: string }[]
}

/** Returns whether an enrollment can still be confirmed. */
export function isConfirmable({ expiresAt, wrongTries }: PendingEnrollment, now: Date): boolean {
  return expiresAt > now && wrongTries < ENROLLMENT_TRIES_MAX
}

/** Returns the facts at an instant, under the account's single sign-on. data/users/roster.ts has the same rules in SQL. */
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

/** With SSO `required`, every user is exempt. With `optional`, only users linked through the current client are. */
function isExempt({ ssoIdentities }: TwoFactorRows, sso: AccountPolicy['sso']): boolean {
  if (sso.mode !== 'optional') return sso.mode === 'required'
  return ssoIdentities.some(
    ({ issuer, clientId }) => issuer === sso.issuer && clientId === sso.clientId
  )
}

/** Returns the facts that a filter requires, each with its value. */
export function demandsOf(filter: TwoFactorFilter): [keyof TwoFactorFacts, boolean][] {
  return Object.entries(FILTERS[filter]) as [keyof TwoFactorFacts, boolean][]
}

/** Returns whether a filter selects a user with these facts. */
function isFoundBy(filter: TwoFactorFilter, facts: TwoFactorFacts): boolean {
  return demandsOf(filter).every(([fact, value]) => facts[fact] === value)
}

/** Returns the state of a user with these facts. */
export function twoFactorState(facts: TwoFactorFacts): TwoFactorState {
  if (isFoundBy('enabled', facts)) return 'enabled'
  if (isFoundBy('pending', facts)) return 'pending'
  return 'disabled'
}
