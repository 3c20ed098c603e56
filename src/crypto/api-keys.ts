// New API keys, whose secrets end in a MAC of the service. So an invented key is recognised without the database.
import { createHmac, randomBytes, timingSafeEqual } from 'node:crypto'
import { BEARER_KEY_SECRET_BYTES, type BearerKey } from '../core/bearer-keys.ts'
import { generateBearerKeyId } from './secrets.ts'

/** One guess in four billion passes, and then meets the hash of a key that does not exist. */
const MAC_BYTES = 4
/** 224 random bits. The secret is stored as a plain hash, which needs at least 112 (NIST SP 800-63B-4 §3.1.2.2). */
const RANDOM_BYTES = BEARER_KEY_SECRET_BYTES - MAC_BYTES

export interface ApiKeyMaker {
  /** Returns a new API key with a random id. */
  make(): BearerKey
  /** Returns whether `make` returned this key, or an attacker had great luck. False for keys of releases up to 0.1. */
  isMade(key: BearerKey): boolean
}

/** Creates the maker. The MAC is HMAC-SHA-256 (RFC 2104) under a service key, so only the service makes a valid one. */
export function createApiKeyMaker(serviceKey: Uint8Array): ApiKeyMaker {
  function macOf(id: string, random: Uint8Array): Buffer {
    return createHmac('sha256', serviceKey)
      .update(id)
      .update(random)
      .digest()
      .subarray(0, MAC_BYTES)
  }

  return {
    make() {
      const id = generateBearerKeyId()
      const random = randomBytes(RANDOM_BYTES)
      const secret = Buffer.concat([random, macOf(id, random)]).toString('base64url')
      return { kind: 'api', id, secret }
    },

    isMade({ kind, id, secret }) {
      const bytes = Buffer.from(secret, 'base64url')
      const mac = macOf(id, bytes.subarray(0, RANDOM_BYTES))
      return kind === 'api' && timingSafeEqual(bytes.subarray(RANDOM_BYTES), mac)
    }
  }
}
