// Recovery codes: the way back in when the phone is gone. Each is good once.
import { createHmac, randomBytes } from 'node:crypto'
import { base32crockford } from '@scure/base'

/** As many as the services people know hand out; enough for years, few enough to print. */
export const RECOVERY_CODES_COUNT = 10

/**
 * 15 bytes are 120 bits, above the 112 that NIST SP 800-63B-4 §3.1.2.2 wants before a look-up secret may go
 * without stretching, and exactly 24 base32 characters: six groups of four without padding.
 */
const RECOVERY_CODE_BYTES = 15
const FOUR_BEFORE_MORE = /.{4}(?=.)/g

/** Ten fresh codes from the CSPRNG in Crockford's base32, which has no I, L, O or U, grouped to be typed. */
export function generateRecoveryCodes(): string[] {
  return Array.from({ length: RECOVERY_CODES_COUNT }, () =>
    base32crockford.encode(randomBytes(RECOVERY_CODE_BYTES)).replace(FOUR_BEFORE_MORE, '$&-')
  )
}

/** The one form that is hashed: case, spaces and hyphens don't count, and o, i, l read as 0, 1, 1. */
export function normalizeRecoveryCode(typed: string): string {
  return typed.replace(/[\s-]/g, '').toUpperCase().replace(/O/g, '0').replace(/[IL]/g, '1')
}

type Hash = Uint8Array<ArrayBuffer>

export interface RecoveryCodeHasher {
  /** The hash that is stored for a code, however it is spelt. */
  hash(code: string, owner: RecoveryCodeOwner): Hash
}

export interface RecoveryCodeOwner {
  accountId: string
  userId: string
}

/**
 * HMAC-SHA-256 under the service's own key for them (core/service-keys), so a dump of the database without the master
 * keys can't even be tested for a code; bound to the owner, so equal codes of two users never look alike.
 */
export function createRecoveryCodeHasher(key: Uint8Array): RecoveryCodeHasher {
  return {
    hash: (code, { accountId, userId }) =>
      Uint8Array.from(
        createHmac('sha256', key)
          .update(JSON.stringify([accountId, userId, normalizeRecoveryCode(code)]))
          .digest()
      )
  }
}
