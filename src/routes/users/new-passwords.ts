// New passwords: the rules of the account that they must pass before they are hashed.
import { judgePassword, PASSWORD_LENGTH_MIN } from '../../core/passwords/passwords.ts'
import { type BoundUser, isTwoFactorRequiredOf } from '../../core/policy.ts'
import type { PasswordHashing } from '../../crypto/password-hashing.ts'
import type { Accounts } from '../../data/accounts/accounts.ts'
import type { Policies } from '../../data/policy/policies.ts'
import type { RosterUser } from '../../data/users/roster.ts'
import { Problem } from '../../wire/problem.ts'
import { boundUser } from './user-answer.ts'

interface NewPasswordsOptions {
  accounts: Accounts
  policies: Policies
  passwordHashing: PasswordHashing
  issuer: string
  passwordMinLengthAlone: number
  now: () => Date
}

/** The user who gets the password. */
export interface PasswordOwner extends BoundUser {
  accountId: string
  email: string
  hasAuthenticator: boolean
}

export type NewPasswords = ReturnType<typeof createNewPasswords>

export function createNewPasswords({
  accounts,
  policies,
  passwordHashing,
  issuer,
  passwordMinLengthAlone,
  now
}: NewPasswordsOptions) {
  /** A password that is the only factor must be longer (NIST SP 800-63B-4 §3.1.1.2), if the operator demands it. */
  async function lengthMinOf(owner: PasswordOwner): Promise<number> {
    if (passwordMinLengthAlone === PASSWORD_LENGTH_MIN || owner.hasAuthenticator) {
      return PASSWORD_LENGTH_MIN
    }
    const demands = await policies.find(owner.accountId)
    return isTwoFactorRequiredOf(owner, demands, now())
      ? PASSWORD_LENGTH_MIN
      : passwordMinLengthAlone
  }

  return {
    /** Returns the hash of a new password. Throws `weak-password` with the reason. */
    async hash(password: string, owner: PasswordOwner): Promise<string> {
      const { accountId, email } = owner
      const account = await accounts.find(accountId)
      if (!account) throw new Problem('account-not-found')
      const lengthMin = await lengthMinOf(owner)
      const verdict = judgePassword(password, { email, account, issuer, lengthMin })
      if (!verdict.acceptable) {
        throw new Problem('weak-password', { detail: `The password ${verdict.reason}.` })
      }
      return passwordHashing.hash(password, accountId)
    }
  }
}

/** Returns a stored user as the owner of a new password. */
export function ownerOf(user: RosterUser): PasswordOwner {
  const { accountId, email, authenticators } = user
  return { accountId, email, ...boundUser(user), hasAuthenticator: authenticators.length > 0 }
}
