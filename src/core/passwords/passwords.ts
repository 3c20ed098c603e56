// The rules for new passwords. crypto/password-hashing hashes them.
import {
  createCommonPasswords,
  foldPassword,
  isContextWord,
  type PasswordContext
} from './common-passwords.ts'

/** NIST SP 800-63B-4 §3.1.1.2: eight is the minimum for a password that is one of two factors. */
export const PASSWORD_LENGTH_MIN = 8

/** The same clause requires that at least 64 are possible. The maximum bounds the cost of hashing. */
export const PASSWORD_LENGTH_MAX = 128

type PasswordVerdict = { acceptable: true } | { acceptable: false; reason: string }

export interface PasswordRules extends PasswordContext {
  /** The minimum for this user, in characters. */
  lengthMin: number
}

/**
 * Judges a new password by its length, against the passwords that attackers try first, and against names that an attacker
 * knows. There are no rules about its characters (NIST SP 800-63B-4 §3.1.1.2). The length is counted in Unicode code points
 * of the NFC form.
 */
export function judgePassword(
  password: string,
  { lengthMin, ...context }: PasswordRules
): PasswordVerdict {
  const normalized = normalizePassword(password)
  const length = [...normalized].length
  if (length < lengthMin) return refused(`must have at least ${lengthMin} characters`)
  if (length > PASSWORD_LENGTH_MAX) {
    return refused(`must have at most ${PASSWORD_LENGTH_MAX} characters`)
  }
  const folded = foldPassword(normalized)
  const address = foldPassword(context.email)
  const [localPart = ''] = address.split('@')
  if (folded === address || folded === localPart) return refused('must not be the e-mail address')
  if (/^(.)\1*$/u.test(folded)) return refused('must not be one character repeated')
  if (isCommonPassword(normalized)) {
    return refused('is one of the passwords that attackers try first')
  }
  if (isContextWord(normalized, context)) {
    return refused('must be more than a name of the user, the account or the service')
  }
  return { acceptable: true }
}

function refused(reason: string): PasswordVerdict {
  return { acceptable: false, reason }
}

/**
 * Returns the NFC form, which is the form to hash. Composed and decomposed spellings of a password are then equal (NIST SP
 * 800-63B-4 §3.1.1.2).
 */
export function normalizePassword(password: string): string {
  return password.normalize('NFC')
}

const isCommonPassword = createCommonPasswords(PASSWORD_LENGTH_MIN)
