// How recovery codes are stored: as keyed hashes.
import { createHmac } from 'node:crypto'
import { normalizeRecoveryCode } from '../core/recovery-codes.ts'

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
 * HMAC-SHA-256 under the service's own key for them (crypto/service-keys), so a dump of the database without the master
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
