import { deepStrictEqual, equal } from 'node:assert/strict'
import { createHmac } from 'node:crypto'
import fc from 'fast-check'
import t from 'tap'
import type { AccountPolicy, SsoMode } from '../../src/core/policy.ts'
import {
  DEVICE_OVERLAP_SECONDS,
  type DeviceState,
  deviceToRemember,
  judgeDevice
} from '../../src/core/trusted-devices.ts'
import { createDeviceTokens, type DeviceClaims } from '../../src/crypto/device-tokens.ts'

const KEY = Buffer.from(Array.from({ length: 32 }, (_, i) => i))
const NINE = new Date('2026-01-05T09:00:00.000Z')

const CLAIMS: DeviceClaims = {
  accountId: '0198c0de-7a51-7cc2-9a3b-5b1d0c4f2e11',
  userId: '0198c0de-7a51-7cc2-9a3b-5b1d0c4f2e12',
  deviceId: '0198c0de-7a51-7cc2-9a3b-5b1d0c4f2e13',
  generation: 7
}

const tokens = createDeviceTokens(KEY)
const anyClaims = fc.record(
  {
    accountId: fc.uuid(),
    userId: fc.uuid(),
    deviceId: fc.uuid(),
    generation: fc.integer({ min: 1, max: 2 ** 31 - 1 })
  },
  { noNullPrototype: true }
)

const after = (seconds: number) => new Date(NINE.getTime() + seconds * 1000)

// Devices keep their tokens for longer than a release lasts.
t.test('known answer: HMAC-SHA-256 over ids and generation', async (t) => {
  const ids = [CLAIMS.accountId, CLAIMS.userId, CLAIMS.deviceId]
  const payload = Buffer.from(`${ids.join('').replaceAll('-', '')}00000007`, 'hex')
  const mac = createHmac('sha256', KEY).update(payload).digest('base64url')
  t.equal(tokens.make(CLAIMS), `${payload.toString('base64url')}.${mac}`)
})

t.test('what a token was made of is what it says', async () => {
  fc.assert(
    fc.property(anyClaims, (claims) => deepStrictEqual(tokens.read(tokens.make(claims)), claims))
  )
})

t.test('every altered bit is refused, those too that base64 leaves unused', async () => {
  const ALPHABET = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_'
  const token = tokens.make(CLAIMS)
  for (const [index, character] of [...token].entries()) {
    if (character === '.') continue
    for (const bit of [1, 2, 4, 8, 16, 32]) {
      const altered = ALPHABET[ALPHABET.indexOf(character) ^ bit] ?? ''
      equal(tokens.read(token.slice(0, index) + altered + token.slice(index + 1)), null)
    }
  }
})

t.test('nothing else is read, and nothing throws', async (t) => {
  fc.assert(fc.property(fc.string({ maxLength: 512 }), (text) => tokens.read(text) === null))
  const form = fc.stringMatching(/^[A-Za-z0-9_-]{70}\.[A-Za-z0-9_-]{43}$/)
  fc.assert(fc.property(form, (text) => tokens.read(text) === null))
  const token = tokens.make(CLAIMS)
  for (const text of [`${token}\n`, `${token}=`, ` ${token}`, token.replace('.', '..')]) {
    t.equal(tokens.read(text), null)
  }
})

t.test('what another key has made is not read', async (t) => {
  const others = createDeviceTokens(Buffer.alloc(32, 7))
  t.same(others.read(others.make(CLAIMS)), CLAIMS)
  t.equal(others.read(tokens.make(CLAIMS)), null)
  t.equal(tokens.read(others.make(CLAIMS)), null)
})

const device = (given: Partial<DeviceState> = {}): DeviceState => ({
  id: CLAIMS.deviceId,
  generation: 7,
  rotatedAt: NINE,
  expiresAt: after(86_400),
  ...given
})

t.test('the current token moves the device on, and prolongs nothing', async (t) => {
  const now = after(5000)
  const verdict = judgeDevice({ generation: 7 }, device(), now)
  t.same(verdict, { isTrusted: true, next: device({ generation: 8, rotatedAt: now }) })
})

t.test('the one before does for a minute, and moves nothing', async (t) => {
  const judged = (seconds: number) => judgeDevice({ generation: 6 }, device(), after(seconds))
  t.equal(DEVICE_OVERLAP_SECONDS, 60)
  t.same(judged(60), { isTrusted: true, next: device() })
  t.same(judged(60.001), { isTrusted: false, reason: 'reused' })
  t.same(judged(-2), { isTrusted: true, next: device() }, 'as of a replica whose clock is ahead')
  const late = { isTrusted: false, reason: 'reused' }
  t.same(judged(-60.001), late, 'a clock that was set back lengthens nothing')
})

t.test('an older one never does', async () => {
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

t.test('one that was never given out says nothing of a thief', async (t) => {
  const verdict = judgeDevice({ generation: 8 }, device(), NINE)
  t.same(verdict, { isTrusted: false, reason: 'never_issued' })
})

t.test('from the instant on at which the trust ends, no token is judged', async (t) => {
  for (const generation of [1, 6, 7, 8]) {
    const verdict = judgeDevice({ generation }, device(), after(86_400))
    t.same(verdict, { isTrusted: false, reason: 'expired' })
  }
  t.match(judgeDevice({ generation: 7 }, device(), after(86_399.999)), { isTrusted: true })
})

t.test(
  'a device is remembered for the days of a policy that has them, and has passwords',
  async (t) => {
    const policy = (allowed: boolean, mode: SsoMode): AccountPolicy => ({
      ...{ twoFactor: 'optional', requiredFrom: null, requiredSince: null, graceDays: 0 },
      trustedDevices: { allowed, days: 2 },
      sso: { mode, issuer: null, clientId: null }
    })
    const remembered = (allowed: boolean, mode: SsoMode) =>
      deviceToRemember(policy(allowed, mode), CLAIMS.deviceId, NINE)
    const expected = { id: CLAIMS.deviceId, days: 2, createdAt: NINE, expiresAt: after(172_800) }
    for (const mode of ['off', 'optional'] as const) t.same(remembered(true, mode), expected)
    t.equal(remembered(true, 'required'), null)
    t.equal(remembered(false, 'off'), null)
  }
)
