// Sign-ins by a trusted device: what its token leads to, and what stays on record of it.
import type { FastifyRequest } from 'fastify'
import type { Act, Audit } from '../audit/audit.ts'
import { noticeTo } from '../core/mail/notices.ts'
import { type DeviceState, judgeDevice } from '../core/trusted-devices.ts'
import type { DeviceClaims, DeviceTokens } from '../crypto/device-tokens.ts'
import type { Subject, UserKey } from '../data/sign-in/subjects.ts'
import type { TrustedDevices } from '../data/sign-in/trusted-devices.ts'

/** What the device keeps from now on. */
export interface DeviceAnswer {
  deviceToken: string
  deviceTokenExpiresAt: string
}

export interface DeviceTrust {
  /**
   * Puts a sign-in by the token of a trusted device on record, and replaces the token. Null: the token is worth nothing
   * here. An old one costs its device the trust.
   */
  signIn(
    request: FastifyRequest,
    subject: Subject,
    deviceToken: string,
    act: Act
  ): Promise<DeviceAnswer | null>
  /** The token of a device as it is. */
  answerFor(user: UserKey, device: Omit<DeviceState, 'rotatedAt'>): DeviceAnswer
}

/** Whoever loses the race for a device finds it moved on, and its token still good as the one before. */
const RACES_MAX = 5

export function createDeviceTrust({
  deviceTokens,
  trustedDevices,
  audit,
  now
}: {
  deviceTokens: DeviceTokens
  trustedDevices: TrustedDevices
  audit: Audit
  now: () => Date
}): DeviceTrust {
  function answerFor(
    { accountId, userId }: UserKey,
    { id: deviceId, generation, expiresAt }: Omit<DeviceState, 'rotatedAt'>
  ): DeviceAnswer {
    return {
      deviceToken: deviceTokens.make({ accountId, userId, deviceId, generation }),
      deviceTokenExpiresAt: expiresAt.toISOString()
    }
  }

  async function revoke(
    request: FastifyRequest,
    subject: Subject,
    id: string,
    act: Act
  ): Promise<void> {
    const event = audit.succeeded(request, {
      ...act,
      type: 'device.revoke',
      target: { kind: 'device', id },
      userId: subject.userId,
      details: { why: 'reuse' }
    })
    const notice = noticeTo(subject, event, 'device_revoked_after_reuse', {})
    await trustedDevices.revokeReused(subject, id, { event, notice })
  }

  /** What a token says; null where it is none of ours, or another user's. */
  function readOwn({ accountId, userId }: UserKey, deviceToken: string): DeviceClaims | null {
    const claims = deviceTokens.read(deviceToken)
    return claims?.accountId === accountId && claims.userId === userId ? claims : null
  }

  async function use(
    request: FastifyRequest,
    subject: Subject,
    claims: DeviceClaims,
    act: Act
  ): Promise<DeviceAnswer | null | 'lost-race'> {
    const { deviceId } = claims
    const device = await trustedDevices.find(subject, deviceId)
    if (!device) return null
    const verdict = judgeDevice(claims, device, now())
    if (!verdict.isTrusted) {
      if (verdict.reason === 'reused') await revoke(request, subject, deviceId, act)
      return null
    }
    const { next } = verdict
    const event = audit.succeeded(request, { ...act, details: { ...act.details, deviceId } })
    const isRecorded = await trustedDevices.recordSignIn(subject, device, next, event)
    return isRecorded ? answerFor(subject, next) : 'lost-race'
  }

  return {
    answerFor,

    async signIn(request, subject, deviceToken, act) {
      const claims = readOwn(subject, deviceToken)
      if (!claims) return null
      for (let race = 0; race < RACES_MAX; race += 1) {
        const outcome = await use(request, subject, claims, act)
        if (outcome !== 'lost-race') return outcome
      }
      return null
    }
  }
}
