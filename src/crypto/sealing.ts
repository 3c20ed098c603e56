// Encrypts stored secrets: AES-256-GCM under a key for each purpose. A sealed value is bound to the row that it belongs to.
import { createCipheriv, createDecipheriv, hkdfSync, randomBytes } from 'node:crypto'

/** NIST SP 800-38D §8.2.2 and §8.3: with random 96-bit nonces, a key may seal 2^32 values. */
const NONCE_BYTES = 12
const TAG_BYTES = 16
const KEY_BYTES = 32
const FORMAT = '1'

/** One master key of the ring, as `MASTER_KEYS` lists it. */
export interface MasterKey {
  id: string
  key: Uint8Array
}

/** The deployment's master keys, newest first. The first one seals, and each of them unseals. */
export type MasterKeys = readonly [MasterKey, ...MasterKey[]]

/** The kinds of sealed secrets. Each has its own key. crypto/resealing lists the rows that hold them. */
export type SealingPurpose =
  | 'authenticator-secret'
  | 'signing-key'
  | 'stored-response'
  | `${ServiceKeyId}-key`

/** The uses of the service's own secret keys. crypto/service-keys generates the keys. */
export const SERVICE_KEY_IDS = ['audit', 'recovery-codes', 'device-tokens', 'api-keys'] as const
export type ServiceKeyId = (typeof SERVICE_KEY_IDS)[number]

/** The ring lacks the master key of a sealed value, or the value was not sealed for this purpose and context. */
export class UnsealError extends Error {
  override name = 'UnsealError'
}

export interface Sealer {
  /** Seals a secret to a context. Only the same context opens the value, so it cannot be moved to another row. */
  seal(secret: Uint8Array, context: readonly string[]): string
  /** Opens a value that `seal` returned for this context. Throws `UnsealError` for every other text. */
  unseal(sealed: string, context: readonly string[]): Buffer
  /** Returns whether a key other than the ring's first one sealed the value. */
  isOutdated(sealed: string): boolean
}

/** Returns the id of the master key that sealed a value; null for text that is not a sealed value. */
export function masterKeyIdOf(sealed: string): string | null {
  const [format, keyId = '', ...box] = sealed.split('.')
  return format === FORMAT && keyId !== '' && box.length === 1 ? keyId : null
}

/** Derives the key of a purpose from a master key: 256 bits by HKDF-SHA-256 (RFC 5869) with the purpose as `info`. */
export function deriveKey(masterKey: MasterKey, purpose: string): Buffer {
  return Buffer.from(hkdfSync('sha256', masterKey.key, '', `twostep:${purpose}`, KEY_BYTES))
}

/** Creates the sealer of a purpose. It seals with the ring's first key and opens with each of them. */
export function createSealer(masterKeys: MasterKeys, purpose: SealingPurpose): Sealer {
  const keys = new Map(masterKeys.map((masterKey) => [masterKey.id, deriveKey(masterKey, purpose)]))
  const newest = masterKeys[0]
  const newestKey = deriveKey(newest, purpose)

  return {
    seal(secret, context) {
      const nonce = randomBytes(NONCE_BYTES)
      const cipher = createCipheriv('aes-256-gcm', newestKey, nonce, { authTagLength: TAG_BYTES })
      cipher.setAAD(associatedData(purpose, newest.id, context))
      const box = Buffer.concat([nonce, cipher.update(secret), cipher.final(), cipher.getAuthTag()])
      return sealedText(newest.id, box)
    },

    unseal(sealed, context) {
      const [, keyId = '', text = ''] = sealed.split('.')
      const box = Buffer.from(text, 'base64url')
      // Node decodes base64 leniently. Only the one spelling that `seal` writes is accepted.
      if (sealed !== sealedText(keyId, box) || box.length < NONCE_BYTES + TAG_BYTES) {
        throw new UnsealError('not a sealed value')
      }
      const key = keys.get(keyId)
      if (!key) {
        throw new UnsealError(`sealed by master key "${keyId}", which MASTER_KEYS does not hold`)
      }
      const decipher = createDecipheriv('aes-256-gcm', key, box.subarray(0, NONCE_BYTES), {
        authTagLength: TAG_BYTES
      })
      decipher.setAAD(associatedData(purpose, keyId, context))
      decipher.setAuthTag(box.subarray(-TAG_BYTES))
      try {
        return Buffer.concat([
          decipher.update(box.subarray(NONCE_BYTES, -TAG_BYTES)),
          decipher.final()
        ])
      } catch (cause) {
        throw new UnsealError(
          `MASTER_KEYS holds another key under the id "${keyId}", or the value was altered or moved from another row`,
          { cause }
        )
      }
    },

    isOutdated(sealed) {
      return !sealed.startsWith(`${FORMAT}.${newest.id}.`)
    }
  }
}

function sealedText(keyId: string, box: Buffer): string {
  return `${FORMAT}.${keyId}.${box.toString('base64url')}`
}

// JSON separates the parts: ["a","bc"] and ["ab","c"] are different contexts.
function associatedData(purpose: string, keyId: string, context: readonly string[]): Buffer {
  return Buffer.from(JSON.stringify([purpose, keyId, ...context]))
}
