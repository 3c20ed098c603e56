// Secrets at rest: AES-256-GCM under a key of their own purpose, bound to the row they belong to.
import { createCipheriv, createDecipheriv, hkdfSync, randomBytes } from 'node:crypto'

/** NIST SP 800-38D §8.2.2: a random 96-bit nonce is safe for 2^32 messages a key. */
const NONCE_BYTES = 12
const TAG_BYTES = 16
const KEY_BYTES = 32
const FORMAT = '1'

/** One master key of the ring, as `MASTER_KEYS` lists it. */
export interface MasterKey {
  id: string
  key: Uint8Array
}

/** The deployment's master keys, newest first: the first seals, every one unseals. */
export type MasterKeys = readonly [MasterKey, ...MasterKey[]]

/** What is sealed, each kind under a key of its own; core/resealing tells in which rows. */
export type SealingPurpose = 'authenticator-secret' | 'signing-key' | `${ServiceKeyId}-key`

/** The service's own secret keys, by what they are for; core/service-keys makes them. */
export const SERVICE_KEY_IDS = ['audit', 'recovery-codes', 'device-tokens'] as const
export type ServiceKeyId = (typeof SERVICE_KEY_IDS)[number]

/** A sealed value names a master key that the ring no longer holds, or is not what was sealed here. */
export class UnsealError extends Error {
  override name = 'UnsealError'
}

export interface Sealer {
  /** Seals a secret to a context; only the same context opens it, so no row's value works in another. */
  seal(secret: Uint8Array, context: readonly string[]): string
  /** Opens what `seal` made for this context. Throws `UnsealError`. */
  unseal(sealed: string, context: readonly string[]): Buffer
  /** Whether the value was sealed by an older key than the ring's first. */
  isOutdated(sealed: string): boolean
}

/** The id of the master key that a value names; null for what is no sealed value. */
export function masterKeyIdOf(sealed: string): string | null {
  const [format, keyId = '', ...box] = sealed.split('.')
  return format === FORMAT && keyId !== '' && box.length === 1 ? keyId : null
}

/** One purpose, one key: HKDF-SHA-256 (RFC 5869) from a master key, with the purpose as `info`. */
export function deriveKey(masterKey: MasterKey, purpose: string): Buffer {
  return Buffer.from(hkdfSync('sha256', masterKey.key, '', `twostep:${purpose}`, KEY_BYTES))
}

/** Makes the sealer of one purpose over the ring. */
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
      // Node reads base64 leniently: only the one spelling that `seal` writes is a sealed value.
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
        throw new UnsealError('altered, or sealed for another row', { cause })
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

// JSON keeps the parts apart: ["a","bc"] and ["ab","c"] must not seal alike.
function associatedData(purpose: string, keyId: string, context: readonly string[]): Buffer {
  return Buffer.from(JSON.stringify([purpose, keyId, ...context]))
}
