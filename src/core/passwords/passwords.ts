// The rules for new passwords. crypto/password-hashing hashes them.

/** NIST SP 800-63B-4 §3.1.1.2: eight is the minimum for a password that is one of two factors. */
export const PASSWORD_LENGTH_MIN = 8

/** The same clause requires that at least 64 are possible. The maximum bounds the cost of hashing. */
export const PASSWORD_LENGTH_MAX = 128

type PasswordVerdict = { acceptable: true } | { acceptable: false; reason: string }

/**
 * Judges a new password by its length and against the passwords that attackers try first. There are no rules about its
 * characters (NIST SP 800-63B-4 §3.1.1.2). The length is counted in Unicode code points of the NFC form.
 */
export function judgePassword(password: string, { email }: { email: string }): PasswordVerdict {
  const normalized = normalizePassword(password)
  const length = [...normalized].length
  if (length < PASSWORD_LENGTH_MIN) {
    return { acceptable: false, reason: `must have at least ${PASSWORD_LENGTH_MIN} characters` }
  }
  if (length > PASSWORD_LENGTH_MAX) {
    return { acceptable: false, reason: `must have at most ${PASSWORD_LENGTH_MAX} characters` }
  }
  const folded = normalized.toLowerCase()
  const address = normalizePassword(email).toLowerCase()
  const [localPart = ''] = address.split('@')
  if (folded === address || folded === localPart) {
    return { acceptable: false, reason: 'must not be the e-mail address' }
  }
  if (/^(.)\1*$/u.test(folded)) {
    return { acceptable: false, reason: 'must not be one character repeated' }
  }
  if (COMMON_PASSWORDS.has(folded)) {
    return { acceptable: false, reason: 'is one of the passwords that attackers try first' }
  }
  return { acceptable: true }
}

/**
 * Returns the NFC form, which is the form to hash. Composed and decomposed spellings of a password are then equal (NIST SP
 * 800-63B-4 §3.1.1.2).
 */
export function normalizePassword(password: string): string {
  return password.normalize('NFC')
}

// The most frequent passwords of eight characters or more in public breach lists. Throttling covers the rest: an online
// attacker gets so few tries that only the first entries of a list matter.
const COMMON_PASSWORDS = new Set(
  `12345678 123456789 1234567890 11223344 12341234 123123123 87654321 987654321 0987654321 1q2w3e4r
  1q2w3e4r5t 1qaz2wsx zaq12wsx q1w2e3r4 qwertyui qwertyuiop qwerty12 qwerty123 qwerty1234 qwerty12345
  asdfghjkl asdfasdf password password1 password12 password123 passw0rd p@ssw0rd p@ssword pa55word
  changeme changeit letmein1 letmein123 welcome1 welcome123 iloveyou iloveyou1 princess sunshine
  football baseball superman batman123 trustno1 starwars whatever computer internet michelle jennifer
  abcd1234 abc12345 abcdefgh admin123 admin1234 administrator test1234 testtest secret123 default1
  hunter22 dragon123 monkey123 shadow123 master123 access14 football1 liverpool samsung1 corvette`.split(
    /\s+/
  )
)
