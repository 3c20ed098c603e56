// The decision: what one sign-in must do next, and why. The order of the questions is the product's
// promise: the account's demand first, then what the user has chosen.

/** What an account asks of its users. */
export type TwoFactorPolicy = 'optional' | 'required'

export interface AccountPolicy {
  twoFactor: TwoFactorPolicy
}

export interface DecisionInput {
  policy: AccountPolicy
  user: { hasAuthenticator: boolean }
}

export type Decision =
  | { outcome: 'authenticated'; reason: 'not_required' }
  | { outcome: 'verification_required'; reason: 'account_required' | 'user_enabled' }
  | { outcome: 'enrollment_required'; reason: 'account_required' }

/**
 * Decides what follows a right password. Total and pure: every input has one outcome and one reason. A
 * user's own authenticator is asked for even where nothing demands it, since its owner counts on that.
 */
export function decide({ policy, user }: DecisionInput): Decision {
  if (isTwoFactorRequired(policy)) {
    return user.hasAuthenticator
      ? { outcome: 'verification_required', reason: 'account_required' }
      : { outcome: 'enrollment_required', reason: 'account_required' }
  }
  if (user.hasAuthenticator) return { outcome: 'verification_required', reason: 'user_enabled' }
  return { outcome: 'authenticated', reason: 'not_required' }
}

/** Whether users of this account may not go without a second factor. */
export function isTwoFactorRequired(policy: AccountPolicy): boolean {
  return policy.twoFactor === 'required'
}
