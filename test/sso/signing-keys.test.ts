// Which entries of a provider's key set are kept. An account's admin chooses the provider, so a set can contain anything.
import { generateKeyPairSync } from 'node:crypto'
import t from 'tap'
import { KEYS_MAX, readKeySet } from '../../src/sso/signing-keys.ts'
import { leastCpuTime } from '../support/cpu-time.ts'
import { newKey } from '../support/identity-provider.ts'

t.test('keys of all accepted algorithms are kept, with only their public members', async (t) => {
  for (const alg of ['RS256', 'PS512', 'ES256', 'ES384', 'ES512', 'EdDSA']) {
    const { publicJwk } = await newKey('one', alg)
    const { kty, crv, x, y, n, e } = publicJwk
    const kept = { kty, crv, x, y, n, e, alg, kid: 'one' }
    const [key] = readKeySet({ keys: [{ ...publicJwk, d: 'private', x5c: ['MII'] }] }).keys
    t.same(key, JSON.parse(JSON.stringify(kept)), alg)
  }
})

t.test('an entry that cannot verify a signature is left out', async (t) => {
  const { publicJwk } = await newKey('one', 'RS256')
  const small = generateKeyPairSync('rsa', { modulusLength: 1024 }).publicKey
  const entries = [
    ...[{}, null, 7, 'key', [], { kty: 'RSA' }, { kty: 'oct', k: 'c2VjcmV0' }],
    ...[
      { ...publicJwk, use: 'enc' },
      { ...publicJwk, key_ops: ['encrypt'] }
    ],
    ...[
      { ...publicJwk, alg: 'RSA-OAEP' },
      { ...publicJwk, alg: 'HS256' }
    ],
    ...[
      { ...publicJwk, e: 'A'.repeat(60_000) },
      { ...publicJwk, n: 'A'.repeat(60_000) }
    ],
    ...[small.export({ format: 'jwk' }), { kty: 'EC', crv: '__proto__', x: 'x', y: 'y' }]
  ]
  t.same(readKeySet({ keys: entries }), { keys: [], ignored: entries.length })
  const lax = { ...publicJwk, use: null, alg: null, key_ops: null, kid: null }
  t.equal(readKeySet({ keys: [{}, lax] }).keys.length, 1)
})

t.test('a key set without keys is rejected', async (t) => {
  for (const document of [null, 7, 'text', [], {}, { keys: {} }, { keys: 'keys' }]) {
    t.throws(() => readKeySet(document), /no keys/, JSON.stringify(document))
  }
})

t.test('a hostile document costs little time', async (t) => {
  const { publicJwk } = await newKey('one', 'RS256')
  const fills = ['{},', '[],', '7,', '{"kty":"RSA"},', `${JSON.stringify(publicJwk)},`, '"",']
  for (const fill of fills) {
    const text = `{"keys":[${fill.repeat(60_000 / fill.length)}{}]}`
    const { leastMs } = await leastCpuTime(async () => readKeySet(JSON.parse(text)))
    t.comment(`${fill.slice(0, 20)}: ${leastMs} ms`)
    t.ok(leastMs < 50)
  }
})

t.test('the first fifty usable keys are kept', async (t) => {
  const { publicJwk } = await newKey('one')
  const keys = Array.from({ length: KEYS_MAX + 5 }, (_, n) => ({ ...publicJwk, kid: `${n}` }))
  const { keys: kept, ignored } = readKeySet({ keys })
  t.equal(kept.length, KEYS_MAX)
  t.equal(ignored, 5)
})
