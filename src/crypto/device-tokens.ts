// What a trusted device keeps, and what it is worth when it is shown. Its token says which device of which user it is,
// and which of the device's tokens: each is replaced when it is used, so of an older one somebody has kept a copy.
import { createHmac, timingSafeEqual } from 'node:crypto'
import { parse, stringify } from 'uuid'

/** What a device token says. */
export interface DeviceClaims {
  accountId: string
  userId: string
  deviceId: string
  /** 1 for the token that the device was trusted with; one more with each replacement. */
  generation: number
}

export interface DeviceTokens {
  /** The one token of a generation; nobody without the key can make it. */
  make(claims: DeviceClaims): string
  /** What a token says; null for all that was not made here. */
  read(token: string): DeviceClaims | null
}

const UUID_BYTES = 16
const GENERATION_AT = 3 * UUID_BYTES
const PAYLOAD_BYTES = GENERATION_AT + 4
const FORM = /^[\w-]{70}\.[\w-]{43}$/

/**
 * HMAC-SHA-256 under the service's own key for them (crypto/service-keys). So the database holds nothing in the clear by
 * which a device is trusted, and any token of any generation is known again as one of ours: a stranger can neither use
 * nor revoke a device.
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
      // Node reads base64 leniently: only the one spelling that `make` writes is a token.
      if (!payload || !mac || token !== tokenOf(payload, mac)) return null
      return timingSafeEqual(macOf(key, payload), mac) ? claimsOf(payload) : null
    }
  }
}

function tokenOf(payload: Uint8Array, mac: Uint8Array): string {
  return [payload, mac].map((part) => Buffer.from(part).toString('base64url')).join('.')
}

// Every member has its own length, so no two devices have one payload.
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
