import { deepStrictEqual } from 'node:assert/strict'
import fc from 'fast-check'
import t from 'tap'
import type { AccountPolicy, SsoMode } from '../../src/core/policy.ts'
import {
  DEVICE_OVERLAP_SECONDS,
  type DeviceState,
  deviceToRemember,
  judgeDevice
} from '../../src/core/trusted-devices.ts'

const NINE = new Date('2026-01-05T09:00:00.000Z')
const ID = '0198c0de-7a51-7cc2-9a3b-5b1d0c4f2e13'
const after = (seconds: number) => new Date(NINE.getTime() + seconds * 1000)

const device = (given: Partial<DeviceState> = {}): DeviceState => ({
  id: ID,
  generation: 7,
  rotatedAt: NINE,
  expiresAt: after(86_400),
  ...given
})

t.test('the current token is replaced by the next generation, and the expiry stays', async (t) => {
  const now = after(5000)
  const verdict = judgeDevice({ generation: 7 }, device(), now)
  t.same(verdict, { isTrusted: true, next: device({ generation: 8, rotatedAt: now }) })
})

t.test('the previous token is accepted for one minute, and is not replaced', async (t) => {
  const judged = (seconds: number) => judgeDevice({ generation: 6 }, device(), after(seconds))
  t.equal(DEVICE_OVERLAP_SECONDS, 60)
  t.same(judged(60), { isTrusted: true, next: device() })
  t.same(judged(60.001), { isTrusted: false, reason: 'reused' })
  t.same(judged(-2), { isTrusted: true, next: device() }, 'another replica’s clock is ahead')
  const late = { isTrusted: false, reason: 'reused' }
  t.same(judged(-60.001), late, 'a clock that was set back does not prolong the overlap')
})

t.test('property: an older token is never accepted', async () => {
  const older = fc.integer({ min: 1, max: 5 })
  fc.assert(
    fc.property(older, fc.integer({ min: 0, max: 86_399 }), (generation, seconds) =>
      deepStrictEqual(judgeDevice({ generation }, device(), after(seconds)), {
        isTrusted: false,
        reason: 'reused'
      })
    )
  )
})

t.test('a token that was never issued is rejected, but does not count as stolen', async (t) => {
  const verdict = judgeDevice({ generation: 8 }, device(), NINE)
  t.same(verdict, { isTrusted: false, reason: 'never_issued' })
})

t.test('all tokens of a device are rejected from its expiry on', async (t) => {
  for (const generation of [1, 6, 7, 8]) {
    const verdict = judgeDevice({ generation }, device(), after(86_400))
    t.same(verdict, { isTrusted: false, reason: 'expired' })
  }
  t.match(judgeDevice({ generation: 7 }, device(), after(86_399.999)), { isTrusted: true })
})

t.test(
  'a device is trusted for the days of a policy that allows devices and passwords',
  async (t) => {
    const policy = (allowed: boolean, mode: SsoMode): AccountPolicy => ({
      twoFactor: 'optional',
      appliesTo: 'everyone',
      requiredFrom: null,
      requiredSince: null,
      graceDays: 0,
      trustedDevices: { allowed, days: 2 },
      sso: { mode, issuer: null, clientId: null, trustEmail: false, since: null }
    })
    const remembered = (allowed: boolean, mode: SsoMode) =>
      deviceToRemember(policy(allowed, mode), ID, NINE)
    const expected = { id: ID, days: 2, createdAt: NINE, expiresAt: after(172_800) }
    for (const mode of ['off', 'optional'] as const) t.same(remembered(true, mode), expected)
    t.equal(remembered(true, 'required'), null)
    t.equal(remembered(false, 'off'), null)
  }
)
