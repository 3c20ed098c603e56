// Recovery codes: the way back in when the phone is gone. Each is good once.
import { createHmac, randomBytes } from 'node:crypto'
import { base32crockford } from '@scure/base'
import { deriveKey, type MasterKeys } from './sealing.ts'

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
  /** The hash to store for a new code. */
  hash(code: string, owner: RecoveryCodeOwner): Hash
  /** Every hash under which a code may be stored, newest master key first. */
  candidates(code: string, owner: RecoveryCodeOwner): Hash[]
}

export interface RecoveryCodeOwner {
  accountId: string
  userId: string
}

/**
 * HMAC-SHA-256 under a key derived from the master keys, so a dump of the database without them can't even be
 * tested for a code; bound to the owner, so equal codes of two users never look alike.
 */
export function createRecoveryCodeHasher(masterKeys: MasterKeys): RecoveryCodeHasher {
  const newest = deriveKey(masterKeys[0], 'recovery-code')
  const older = masterKeys.slice(1).map((masterKey) => deriveKey(masterKey, 'recovery-code'))
  const hashUnder = (key: Buffer, code: string, { accountId, userId }: RecoveryCodeOwner): Hash =>
    Uint8Array.from(
      createHmac('sha256', key)
        .update(JSON.stringify([accountId, userId, normalizeRecoveryCode(code)]))
        .digest()
    )

  return {
    hash: (code, owner) => hashUnder(newest, code, owner),
    candidates: (code, owner) => [newest, ...older].map((key) => hashUnder(key, code, owner))
  }
}
