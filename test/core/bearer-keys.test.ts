import { deepStrictEqual } from 'node:assert/strict'
import { createHash } from 'node:crypto'
import fc from 'fast-check'
import t from 'tap'
import {
  type BearerKey,
  formatBearerKey,
  hashBearerSecret,
  isSecretOf,
  parseBearerKey,
  SCOPES
} from '../../src/core/bearer-keys.ts'

const ID = 'abc0123def45'
const SECRET = 'Aa0-_'.repeat(8).concat('xyz')

t.test('the prefix shows the kind of a key, also to secret scanners', async (t) => {
  t.equal(formatBearerKey({ kind: 'operator', id: ID, secret: SECRET }), `tso_${ID}_${SECRET}`)
  t.equal(formatBearerKey({ kind: 'api', id: ID, secret: SECRET }), `tsk_${ID}_${SECRET}`)
  t.equal(parseBearerKey(`tso_${ID}_${SECRET}`)?.kind, 'operator')
  t.equal(parseBearerKey(`tsk_${ID}_${SECRET}`)?.kind, 'api')
})

t.test('a secret may contain the separator', async (t) => {
  for (const secret of ['_'.repeat(43), `_${'a'.repeat(41)}_`, `${'a_'.repeat(21)}-`]) {
    t.strictSame(parseBearerKey(`tsk_${ID}_${secret}`), { kind: 'api', id: ID, secret })
  }
})

t.test('property: a formatted key parses to the same key', async () => {
  const from = (alphabet: string, length: number) =>
    fc.string({ unit: fc.constantFrom(...alphabet), minLength: length, maxLength: length })
  const lower = 'abcdefghijklmnopqrstuvwxyz0123456789'
  const keys: fc.Arbitrary<BearerKey> = fc.record({
    kind: fc.constantFrom('operator', 'api'),
    id: from(lower, 12),
    secret: from(`${lower}${lower.toUpperCase()}-_`, 43)
  })
  fc.assert(
    fc.property(keys, (key) => deepStrictEqual(parseBearerKey(formatBearerKey(key)), { ...key }))
  )
})

t.test('null: text that is not exactly a key, without an error', async (t) => {
  const good = `tsk_${ID}_${SECRET}`
  t.ok(parseBearerKey(good))
  for (const text of [
    ...['', 'tsk', 'tsk_', 'tsk__', `tsk_${ID}`, `tsk_${ID}_`, `_${ID}_${SECRET}`],
    ...[
      `${good}=`,
      `${good}x`,
      `${good}\n`,
      `${good} `,
      ` ${good}`,
      `\n${good}`,
      good.slice(0, -1)
    ],
    ...[
      `TSK_${ID}_${SECRET}`,
      `tsx_${ID}_${SECRET}`,
      `tsk-${ID}-${SECRET}`,
      `tsk_${ID}__${SECRET}`
    ],
    ...[
      `tsk_${ID.toUpperCase()}_${SECRET}`,
      `tsk_${ID.slice(1)}_${SECRET}`,
      `tsk_${ID}a_${SECRET}`
    ],
    ...[`tsk_${ID}_${SECRET.slice(1)}+`, `tsk_${ID}_${SECRET.slice(1)}é`, `Bearer ${good}`],
    ...[`${good},${good}`, `x\n${good}`, `tsk_${ID.slice(1)}\0_${SECRET}`, 'tsk_'.repeat(20_000)],
    ...['__proto__', 'constructor', '\ud800', 'null']
  ]) {
    t.equal(parseBearerKey(text), null, JSON.stringify(text.slice(0, 80)))
  }
  fc.assert(fc.property(fc.string(), (text) => parseBearerKey(text) === null))
})

t.test('the stored hash is the SHA-256 of the secret', async (t) => {
  t.strictSame(
    [...hashBearerSecret(SECRET)],
    [...createHash('sha256').update(SECRET, 'utf8').digest()]
  )
  t.equal(
    Buffer.from(hashBearerSecret('abc')).toString('hex'),
    'ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad',
    'known answer of FIPS 180-4'
  )
})

t.test('only the right and complete secret has the hash', async (t) => {
  const hash = hashBearerSecret(SECRET)
  t.equal(isSecretOf(SECRET, hash), true)
  for (const secret of ['', SECRET.slice(0, -1), `${SECRET}x`, SECRET.toLowerCase(), '\ud800']) {
    t.equal(isSecretOf(secret, hash), false)
  }
  for (const stored of [new Uint8Array(), hash.slice(0, 31), new Uint8Array([...hash, 0])]) {
    t.equal(isSecretOf(SECRET, stored), false, `a hash of ${stored.length} bytes`)
  }
})

t.test('each scope is listed once', async (t) => {
  t.equal(new Set(SCOPES).size, SCOPES.length)
})
