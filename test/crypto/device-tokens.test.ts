import { deepStrictEqual, equal } from 'node:assert/strict'
import { createHmac } from 'node:crypto'
import fc from 'fast-check'
import t from 'tap'
import { createDeviceTokens, type DeviceClaims } from '../../src/crypto/device-tokens.ts'

const KEY = Buffer.from(Array.from({ length: 32 }, (_, i) => i))

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

// Devices keep their tokens longer than one release is in use.
t.test('known answer: a token is HMAC-SHA-256 over the ids and the generation', async (t) => {
  const ids = [CLAIMS.accountId, CLAIMS.userId, CLAIMS.deviceId]
  const payload = Buffer.from(`${ids.join('').replaceAll('-', '')}00000007`, 'hex')
  const mac = createHmac('sha256', KEY).update(payload).digest('base64url')
  t.equal(tokens.make(CLAIMS), `${payload.toString('base64url')}.${mac}`)
})

t.test('property: a token reads back as the claims it was made from', async () => {
  fc.assert(
    fc.property(anyClaims, (claims) => deepStrictEqual(tokens.read(tokens.make(claims)), claims))
  )
})

t.test('every altered bit is rejected, including bits that base64 leaves unused', async () => {
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

t.test('null: every other text, without an error', async (t) => {
  fc.assert(fc.property(fc.string({ maxLength: 512 }), (text) => tokens.read(text) === null))
  const form = fc.stringMatching(/^[A-Za-z0-9_-]{70}\.[A-Za-z0-9_-]{43}$/)
  fc.assert(fc.property(form, (text) => tokens.read(text) === null))
  const token = tokens.make(CLAIMS)
  for (const text of [`${token}\n`, `${token}=`, ` ${token}`, token.replace('.', '..')]) {
    t.equal(tokens.read(text), null)
  }
})

t.test('null: a token under another key', async (t) => {
  const others = createDeviceTokens(Buffer.alloc(32, 7))
  t.same(others.read(others.make(CLAIMS)), CLAIMS)
  t.equal(others.read(tokens.make(CLAIMS)), null)
  t.equal(tokens.read(others.make(CLAIMS)), null)
})
