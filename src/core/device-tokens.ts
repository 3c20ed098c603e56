// What a trusted device keeps, and what it is worth when it is shown. Its token says which device of which user it is,
// and which of the device's tokens: each is replaced when it is used, so of an older one somebody has kept a copy.
import { createHmac, timingSafeEqual } from 'node:crypto'
import { parse, stringify } from 'uuid'
import type { AccountPolicy } from './policy.ts'

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

/** A device as it is stored. */
export interface DeviceState {
  id: string
  generation: number
  /** When its token was replaced last; null for never. */
  rotatedAt: Date | null
  expiresAt: Date
}

export interface NewDevice {
  id: string
  /** The policy's days that it is trusted for. */
  days: number
  createdAt: Date
  expiresAt: Date
}

/** `next` is what the device is after it: it moves on, or it is the same where an answer was lost. */
export type DeviceVerdict =
  | { isTrusted: true; next: DeviceState }
  | { isTrusted: false; reason: 'expired' | 'reused' | 'never_issued' }

/**
 * How long the token before the current one still does: for an answer that was lost on its way, and for two windows
 * of one browser. Whoever has copied a token must be faster than that, and is found out by its next use.
 */
export const DEVICE_OVERLAP_SECONDS = 60
/** More browsers and phones than one person signs in on; who remembers another one loses the oldest. */
export const DEVICES_MAX = 10

const UUID_BYTES = 16
const GENERATION_AT = 3 * UUID_BYTES
const PAYLOAD_BYTES = GENERATION_AT + 4
const FORM = /^[\w-]{70}\.[\w-]{43}$/
const DAY_MS = 86_400_000

/**
 * HMAC-SHA-256 under the service's own key for them (core/service-keys). So the database holds nothing in the clear by
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

/** What the token of a generation is worth, once it was read and belongs to the device and to whoever signs in. */
export function judgeDevice(
  { generation }: Pick<DeviceClaims, 'generation'>,
  device: DeviceState,
  now: Date
): DeviceVerdict {
  if (device.expiresAt <= now) return { isTrusted: false, reason: 'expired' }
  if (generation === device.generation) {
    // The trust ends when it was to end, however often it is used.
    return { isTrusted: true, next: { ...device, generation: generation + 1, rotatedAt: now } }
  }
  // A database that was restored from a copy may not know the newest tokens any more; no thief shows by that.
  if (generation > device.generation) return { isTrusted: false, reason: 'never_issued' }
  return generation === device.generation - 1 && isInOverlap(device, now)
    ? { isTrusted: true, next: device }
    : { isTrusted: false, reason: 'reused' }
}

/** The device to be trusted from now on; null where the policy has none, or has no password door that they are for. */
export function deviceToRemember(
  { trustedDevices, sso }: AccountPolicy,
  id: string,
  createdAt: Date
): NewDevice | null {
  const { allowed, days } = trustedDevices
  if (!allowed || sso.mode === 'required') return null
  return { id, days, createdAt, expiresAt: new Date(createdAt.getTime() + days * DAY_MS) }
}

// Either way: for a clock that was set back the overlap would else last as long as it is behind.
function isInOverlap({ rotatedAt }: DeviceState, now: Date): boolean {
  if (rotatedAt === null) return false
  return Math.abs(now.getTime() - rotatedAt.getTime()) <= DEVICE_OVERLAP_SECONDS * 1000
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
