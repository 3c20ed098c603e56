// When the token of a trusted device replaces the code. Each use replaces the token, so a token that was replaced earlier
// shows that a copy exists.
import type { AccountPolicy } from './policy.ts'

/** A stored device. */
export interface DeviceState {
  id: string
  generation: number
  /** When its token was last replaced; null for never. */
  rotatedAt: Date | null
  expiresAt: Date
}

export interface NewDevice {
  id: string
  /** How many days the policy trusts it. */
  days: number
  createdAt: Date
  expiresAt: Date
}

/** `next` is the state after this use. It stays the same if the client repeats a use whose response was lost. */
type DeviceVerdict =
  | { isTrusted: true; next: DeviceState }
  | { isTrusted: false; reason: 'expired' | 'reused' | 'never_issued' }

/**
 * How long the previous token is still accepted: for a lost response, and for two windows of one browser. An attacker with
 * a copy has to be faster than this, and the owner's next use reveals the copy.
 */
export const DEVICE_OVERLAP_SECONDS = 60
/** More browsers and phones than one person uses. Another device replaces the oldest. */
export const DEVICES_MAX = 10

const DAY_MS = 86_400_000

/** Judges the token of a generation. The caller has checked that it belongs to this device and user. */
export function judgeDevice(
  { generation }: { generation: number },
  device: DeviceState,
  now: Date
): DeviceVerdict {
  if (device.expiresAt <= now) return { isTrusted: false, reason: 'expired' }
  if (generation === device.generation) {
    // A use does not extend the trust: `expiresAt` stays.
    return { isTrusted: true, next: { ...device, generation: generation + 1, rotatedAt: now } }
  }
  // A restored database may lack the newest generations, so this is no sign of theft.
  if (generation > device.generation) return { isTrusted: false, reason: 'never_issued' }
  return generation === device.generation - 1 && isInOverlap(device, now)
    ? { isTrusted: true, next: device }
    : { isTrusted: false, reason: 'reused' }
}

/** Returns the device to trust; null if the policy allows none, or requires single sign-on, which needs none. */
export function deviceToRemember(
  { trustedDevices, sso }: AccountPolicy,
  id: string,
  createdAt: Date
): NewDevice | null {
  const { allowed, days } = trustedDevices
  if (!allowed || sso.mode === 'required') return null
  return { id, days, createdAt, expiresAt: new Date(createdAt.getTime() + days * DAY_MS) }
}

// The absolute value: otherwise a clock that was set back would prolong the overlap.
function isInOverlap({ rotatedAt }: DeviceState, now: Date): boolean {
  if (rotatedAt === null) return false
  return Math.abs(now.getTime() - rotatedAt.getTime()) <= DEVICE_OVERLAP_SECONDS * 1000
}
