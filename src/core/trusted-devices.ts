// What a trusted device is worth when its token is shown, and for how long. Each token is replaced when it is used, so an
// older one means that a copy of it exists.
import type { AccountPolicy } from './policy.ts'

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

const DAY_MS = 86_400_000

/** What the token of a generation is worth, once it was read and belongs to the device and to whoever signs in. */
export function judgeDevice(
  { generation }: { generation: number },
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
