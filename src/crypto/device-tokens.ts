// The token that a trusted device keeps. It names the device, its user, and the generation of the token. Each use replaces
// the token, so the use of an older generation shows that a copy exists (core/trusted-devices judges it).
import { createHmac, timingSafeEqual } from 'node:crypto'
import { parse, stringify } from 'uuid'

/** The content of a device token. */
export interface DeviceClaims {
  accountId: string
  userId: string
  deviceId: string
  /** 1 for the device's first token, and one more after each replacement. */
  generation: number
}

export interface DeviceTokens {
  /** Returns the only token of a generation. It cannot be made without the key. */
  make(claims: DeviceClaims): string
  /** Returns the content of a token; null for text that `make` did not return under this key. */
  read(token: string): DeviceClaims | null
}

const UUID_BYTES = 16
const GENERATION_AT = 3 * UUID_BYTES
const PAYLOAD_BYTES = GENERATION_AT + 4
const FORM = /^[\w-]{70}\.[\w-]{43}$/

/**
 * Creates the device tokens: HMAC-SHA-256 (RFC 2104) under a service key. The database holds no token, so a copy of the
 * database is not enough to use a device. Tokens of every generation are recognised. So only a real token can use a device
 * or revoke it.
 */
export function createDeviceTokens(key: Uint8Array): DeviceTokens {
  return {
    make(claims) {
      const payload = payloadOf(claims)
      return tokenOf(payload, macOf(key, payload))
    },

    read(token) {
      if (!FORM.test(token)) return null
      const [payload, mac] = token.split('.').map((part) => Buffer.from(part, 'base64url'))
      // Node decodes base64 leniently. Only the one spelling that `make` writes is accepted.
      if (!payload || !mac || token !== tokenOf(payload, mac)) return null
      return timingSafeEqual(macOf(key, payload), mac) ? claimsOf(payload) : null
    }
  }
}

function tokenOf(payload: Uint8Array, mac: Uint8Array): string {
  return [payload, mac].map((part) => Buffer.from(part).toString('base64url')).join('.')
}

// Every member has a fixed length, so two different contents never have the same payload.
function payloadOf({ accountId, userId, deviceId, generation }: DeviceClaims): Buffer {
  const payload = Buffer.alloc(PAYLOAD_BYTES)
  payload.set(parse(accountId), 0)
  payload.set(parse(userId), UUID_BYTES)
  payload.set(parse(deviceId), 2 * UUID_BYTES)
  payload.writeUInt32BE(generation, GENERATION_AT)
  return payload
}

function claimsOf(payload: Buffer): DeviceClaims {
  return {
    accountId: stringify(payload, 0),
    userId: stringify(payload, UUID_BYTES),
    deviceId: stringify(payload, 2 * UUID_BYTES),
    generation: payload.readUInt32BE(GENERATION_AT)
  }
}

function macOf(key: Uint8Array, payload: Uint8Array): Buffer {
  return createHmac('sha256', key).update(payload).digest()
}
