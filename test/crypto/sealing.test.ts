import { deepStrictEqual, throws } from 'node:assert/strict'
import { createDecipheriv, createHmac, hkdfSync, randomBytes } from 'node:crypto'
import fc from 'fast-check'
import t from 'tap'
import { createSealer, deriveKey, type MasterKey, UnsealError } from '../../src/crypto/sealing.ts'

const OLD: MasterKey = { id: 'k1', key: Buffer.from(Array.from({ length: 32 }, (_, i) => i)) }
const NEW: MasterKey = { id: 'k2', key: Buffer.from(Array.from({ length: 32 }, (_, i) => 99 + i)) }
const PURPOSE = 'authenticator-secret'
const CONTEXT = ['account-1', 'user-1', 'authenticator-1']
const SECRET = Buffer.from('12345678901234567890')

const sealer = createSealer([OLD], PURPOSE)

/** Returns the parts of a sealed value: version, key id, then nonce, ciphertext and tag in base64url. */
function parts(sealed: string) {
  const [version, keyId, text = ''] = sealed.split('.')
  const box = Buffer.from(text, 'base64url')
  return { version, keyId, box, nonce: box.subarray(0, 12), tag: box.subarray(-16) }
}
const written = (keyId: string, box: Buffer) => `1.${keyId}.${box.toString('base64url')}`

// RFC 5869 by hand: an empty salt is a block of zeros, and one block of output is enough.
function hkdf(key: Uint8Array, info: string): Buffer {
  const extracted = createHmac('sha256', Buffer.alloc(32)).update(key).digest()
  return createHmac('sha256', extracted)
    .update(info)
    .update(Buffer.from([1]))
    .digest()
}

t.test('each purpose has its own key: HKDF-SHA-256 of the master key', async (t) => {
  t.same(deriveKey(OLD, PURPOSE), hkdf(OLD.key, 'twostep:authenticator-secret'))
  t.same(
    deriveKey(OLD, PURPOSE),
    Buffer.from(hkdfSync('sha256', OLD.key, '', 'twostep:authenticator-secret', 32))
  )
  t.notSame(deriveKey(OLD, PURPOSE), deriveKey(OLD, 'signing-key'))
  t.notSame(deriveKey(OLD, PURPOSE), deriveKey(NEW, PURPOSE))
})

t.test('a sealed value is AES-256-GCM that other software can open', async (t) => {
  const { version, keyId, box, nonce, tag } = parts(sealer.seal(SECRET, CONTEXT))
  t.equal(version, '1')
  t.equal(keyId, 'k1')
  t.equal(box.length, 12 + SECRET.length + 16)
  const key = hkdf(OLD.key, 'twostep:authenticator-secret')
  const decipher = createDecipheriv('aes-256-gcm', key, nonce)
  decipher.setAAD(
    Buffer.from('["authenticator-secret","k1","account-1","user-1","authenticator-1"]')
  )
  decipher.setAuthTag(tag)
  const opened = Buffer.concat([decipher.update(box.subarray(12, -16)), decipher.final()])
  t.equal(opened.toString(), SECRET.toString())
})

// A database outlives every release. Other software (pyca/cryptography) made this value.
t.test('known answer: a value of an earlier release still opens', async (t) => {
  const sealed = '1.k1.AAECAwQFBgcICQoL9cQrj8gqB0gHJzQNQ8VxvSZPRHVBUlvEv_U9jf6zyLBgceB8'
  t.equal(sealer.unseal(sealed, CONTEXT).toString(), SECRET.toString())
})

t.test('property: a sealed value opens again, for any length and any context', async () => {
  const contexts = fc.array(fc.string())
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), contexts, (secret, context) => {
      const opened = sealer.unseal(sealer.seal(secret, context), context)
      deepStrictEqual([...opened], [...secret])
    })
  )
})

t.test('a value with any altered bit of nonce, ciphertext or tag is rejected', async (t) => {
  const { box } = parts(sealer.seal(SECRET, CONTEXT))
  t.ok(sealer.unseal(written('k1', box), CONTEXT).equals(SECRET))
  for (let bit = 0; bit < box.length * 8; bit++) {
    const altered = Buffer.from(box)
    altered.writeUInt8(altered.readUInt8(bit >> 3) ^ (1 << (bit & 7)), bit >> 3)
    throws(() => sealer.unseal(written('k1', altered), CONTEXT), UnsealError, `bit ${bit}`)
  }
})

const BASE64URL = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_'

/** Returns every text that differs by one replaced, added or missing character. */
function neighbours(text: string): Set<string> {
  const found = new Set<string>()
  for (let index = 0; index <= text.length; index++) {
    const [before, after] = [text.slice(0, index), text.slice(index + 1)]
    found.add(before).add(before + after)
    // Only the last character of base64 can have unused bits.
    const characters = index >= text.length - 1 ? BASE64URL : 'Aa0-_'
    for (const character of `${characters}. +/=\n\0é`) {
      found.add(before + character + after).add(before + character + text.slice(index))
    }
  }
  found.delete(text)
  return found
}

t.test('a value has one spelling, and every other text is rejected', async (t) => {
  // 46 and 47 bytes end in a character with four and two unused bits, and 48 bytes in one without.
  for (const length of [18, 19, 20]) {
    const sealed = sealer.seal(SECRET.subarray(0, length), CONTEXT)
    t.equal(sealer.unseal(sealed, CONTEXT).length, length)
    for (const altered of neighbours(sealed)) {
      throws(() => sealer.unseal(altered, CONTEXT), UnsealError, altered)
    }
  }
})

t.test('a value does not open with another context, purpose or key', async (t) => {
  const sealed = sealer.seal(SECRET, CONTEXT)
  for (const context of [
    [],
    CONTEXT.slice(0, 2),
    CONTEXT.slice(1),
    [...CONTEXT, ''],
    ['account-1', 'user-1', 'authenticator-2'],
    ['account-2', 'user-1', 'authenticator-1'],
    ['user-1', 'account-1', 'authenticator-1'],
    ['account-1', 'user-1authenticator-1', ''],
    ['account-1","user-1', 'authenticator-1'],
    ['k1', ...CONTEXT]
  ]) {
    t.throws(() => sealer.unseal(sealed, context), UnsealError, JSON.stringify(context))
  }
  t.throws(() => createSealer([OLD], 'signing-key').unseal(sealed, CONTEXT), UnsealError)
  const namesake = createSealer([{ id: 'k1', key: NEW.key }], PURPOSE)
  t.throws(() => namesake.unseal(sealed, CONTEXT), UnsealError)
  const twin = createSealer([{ id: 'k9', key: OLD.key }, OLD], PURPOSE)
  t.ok(twin.unseal(sealed, CONTEXT))
  const renamed = written('k9', parts(sealed).box)
  t.throws(() => twin.unseal(renamed, CONTEXT), UnsealError, 'the key id is authenticated too')
})

t.test('property: different contexts never open each other’s values', async () => {
  const contexts = fc.array(fc.string({ maxLength: 3 }), { maxLength: 3 })
  fc.assert(
    fc.property(contexts, contexts, (one, other) => {
      fc.pre(JSON.stringify(one) !== JSON.stringify(other))
      throws(() => sealer.unseal(sealer.seal(SECRET, one), other), UnsealError)
    })
  )
})

t.test('a ring seals with its first key and opens with each of its keys', async (t) => {
  const ring = createSealer([NEW, OLD], PURPOSE)
  const before = sealer.seal(SECRET, CONTEXT)
  const after = ring.seal(SECRET, CONTEXT)
  t.equal(parts(after).keyId, 'k2')
  t.ok(ring.unseal(before, CONTEXT).equals(SECRET))
  t.ok(ring.unseal(after, CONTEXT).equals(SECRET))
  t.throws(() => sealer.unseal(after, CONTEXT), {
    name: 'UnsealError',
    message: 'sealed by master key "k2", which MASTER_KEYS does not hold'
  })
  t.throws(() => createSealer([NEW], PURPOSE).unseal(before, CONTEXT), UnsealError)
})

t.test('a value is outdated unless the ring’s first key sealed it', async (t) => {
  const before = sealer.seal(SECRET, CONTEXT)
  t.equal(sealer.isOutdated(before), false)
  t.equal(createSealer([NEW, OLD], PURPOSE).isOutdated(before), true)
  t.equal(createSealer([OLD, NEW], PURPOSE).isOutdated(before), false)
  t.equal(createSealer([{ ...OLD, id: 'k' }, OLD], PURPOSE).isOutdated(before), true)
  t.equal(sealer.isOutdated(before.replace('k1', 'k11')), true)
  t.equal(sealer.isOutdated(before.replace('1.', '2.')), true, 'of another format')
  t.equal(sealer.isOutdated(''), true)
})

t.test('each nonce is new, so equal secrets have different sealed values', async (t) => {
  const nonces = new Set<string>()
  for (let count = 0; count < 10_000; count++) {
    nonces.add(parts(sealer.seal(SECRET, CONTEXT)).nonce.toString('hex'))
  }
  t.equal(nonces.size, 10_000)
})

t.test('property: a sealed value contains neither the secret nor the context', async () => {
  const secrets = fc.oneof(
    fc.string({ minLength: 8 }),
    fc.constant('GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ')
  )
  fc.assert(
    fc.property(secrets, (text) => {
      const secret = Buffer.from(text)
      const sealed = sealer.seal(secret, [...CONTEXT, text])
      deepStrictEqual(parts(sealed).box.indexOf(secret), -1)
      for (const encoding of ['utf8', 'hex', 'base64url'] as const) {
        deepStrictEqual(sealed.includes(secret.toString(encoding).slice(0, 8)), false)
      }
    })
  )
})

t.test('property: garbage causes an UnsealError and no other error', async () => {
  const opening = (sealed: string) => throws(() => sealer.unseal(sealed, CONTEXT), UnsealError)
  for (const sealed of [
    ...['', '.', '..', '...', '1', '1.', '1.k1', '1.k1.', '1..', '.k1.', '1.k1.AAAA', '2.k1.AAAA'],
    ...['1.__proto__.', '1.constructor.', '1.toString.x', 'null', '{}', '1.k1.=', '\ud800', '\0'],
    ...[
      `1.k1.${'A'.repeat(100_000)}`,
      written('k1', Buffer.alloc(27)),
      written('k1', Buffer.alloc(28))
    ],
    ...['__proto__', 'k9', ''].map((id) => written(id, randomBytes(48)))
  ]) {
    opening(sealed)
  }
  const boxes = fc.uint8Array({ maxLength: 80 }).map((bytes) => written('k1', Buffer.from(bytes)))
  const almost = fc
    .tuple(fc.string(), fc.string(), fc.base64String())
    .map((three) => three.join('.'))
  fc.assert(fc.property(fc.oneof(fc.string(), boxes, almost), opening), { numRuns: 300 })
})
