// Fresh secrets from the operating system's CSPRNG.
import { randomBytes, randomInt } from 'node:crypto'
import { base32crockford } from '@scure/base'
import {
  BEARER_KEY_ID_LENGTH,
  BEARER_KEY_SECRET_BYTES,
  type BearerKey,
  type BearerKeyKind
} from '../core/bearer-keys.ts'
import { RECOVERY_CODES_COUNT } from '../core/recovery-codes.ts'

/** RFC 4226 §4 R6 recommends 160 bits, the block that HMAC-SHA-1 uses whole. */
export const TOTP_SECRET_BYTES = 20

/**
 * 15 bytes are 120 bits. NIST SP 800-63B-4 §3.1.2.2 lets look-up secrets of at least 112 bits go without stretching.
 * They are exactly 24 base32 characters: six groups of four without padding.
 */
const RECOVERY_CODE_BYTES = 15
const FOUR_BEFORE_MORE = /.{4}(?=.)/g

const ID_ALPHABET = 'abcdefghijklmnopqrstuvwxyz0123456789'

/** Returns a new TOTP secret of 160 bits. */
export function generateTotpSecret(): Buffer {
  return randomBytes(TOTP_SECRET_BYTES)
}

/** Returns ten new codes in Crockford's base32, which has no I, L, O or U, in groups of four for typing. */
export function generateRecoveryCodes(): string[] {
  return Array.from({ length: RECOVERY_CODES_COUNT }, () =>
    base32crockford.encode(randomBytes(RECOVERY_CODE_BYTES)).replace(FOUR_BEFORE_MORE, '$&-')
  )
}

/** Returns a new operator or API key. Its secret has 256 bits. */
export function generateBearerKey(kind: BearerKeyKind): BearerKey {
  const id = Array.from(
    { length: BEARER_KEY_ID_LENGTH },
    () => ID_ALPHABET[randomInt(ID_ALPHABET.length)]
  ).join('')
  return { kind, id, secret: randomBytes(BEARER_KEY_SECRET_BYTES).toString('base64url') }
}
