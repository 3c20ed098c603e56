// Recovery codes are stored as keyed hashes.
import { createHmac } from 'node:crypto'
import { normalizeRecoveryCode } from '../core/recovery-codes.ts'

type Hash = Uint8Array<ArrayBuffer>

export interface RecoveryCodeHasher {
  /** Returns the hash to store. All spellings of a code have the same hash. */
  hash(code: string, owner: RecoveryCodeOwner): Hash
}

interface RecoveryCodeOwner {
  accountId: string
  userId: string
}

/**
 * Creates the hasher: HMAC-SHA-256 (RFC 2104) under a service key. Without the master keys, an attacker with a copy of the
 * database cannot even test a guess. The hash covers the owner, so equal codes of two users have different hashes.
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
