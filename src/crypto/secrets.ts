// New secrets from the operating system's cryptographic random number generator.
import { randomBytes, randomInt } from 'node:crypto'
import { base32crockford } from '@scure/base'
import {
  BEARER_KEY_ID_LENGTH,
  BEARER_KEY_SECRET_BYTES,
  type BearerKey
} from '../core/bearer-keys.ts'
import { RECOVERY_CODES_COUNT } from '../core/recovery-codes.ts'

/** RFC 4226 §4 R6 recommends 160 bits, the length of the output of HMAC-SHA-1. */
const TOTP_SECRET_BYTES = 20

/**
 * 15 bytes are 120 bits. NIST SP 800-63B-4 §3.1.2.2 requires no slow hash for look-up secrets of at least 112 bits. In
 * base32 they have exactly 24 characters: six groups of four, without padding.
 */
const RECOVERY_CODE_BYTES = 15
const GROUP_WITH_SUCCESSOR = /.{4}(?=.)/g

const ID_ALPHABET = 'abcdefghijklmnopqrstuvwxyz0123456789'

/** Returns a new TOTP secret of 160 bits. */
export function generateTotpSecret(): Buffer {
  return randomBytes(TOTP_SECRET_BYTES)
}

/** Returns ten new codes, written for typing: Crockford's base32, which has no I, L, O or U, in groups of four. */
export function generateRecoveryCodes(): string[] {
  return Array.from({ length: RECOVERY_CODES_COUNT }, () =>
    base32crockford.encode(randomBytes(RECOVERY_CODE_BYTES)).replace(GROUP_WITH_SUCCESSOR, '$&-')
  )
}

/** Returns a new operator key with a random id and a secret of 256 random bits. crypto/api-keys makes API keys. */
export function generateOperatorKey(): BearerKey {
  const secret = randomBytes(BEARER_KEY_SECRET_BYTES).toString('base64url')
  return { kind: 'operator', id: generateBearerKeyId(), secret }
}

/** Returns a random id of an operator key or an API key. */
export function generateBearerKeyId(): string {
  return Array.from(
    { length: BEARER_KEY_ID_LENGTH },
    () => ID_ALPHABET[randomInt(ID_ALPHABET.length)]
  ).join('')
}
