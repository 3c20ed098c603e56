import { deepStrictEqual } from 'node:assert/strict'
import t from 'tap'
import { formatBearerKey, parseBearerKey } from '../../src/core/bearer-keys.ts'
import {
  generateOperatorKey,
  generateRecoveryCodes,
  generateTotpSecret
} from '../../src/crypto/secrets.ts'

t.test('a TOTP secret has 160 bits, which differ each time', async (t) => {
  const secrets = Array.from({ length: 1000 }, () => generateTotpSecret())
  t.ok(secrets.every((secret) => secret.length === 20))
  t.equal(new Set(secrets.map((secret) => secret.toString('hex'))).size, 1000)
  for (let index = 0; index < 20; index++) {
    t.ok(new Set(secrets.map((secret) => secret[index])).size > 200, `byte ${index} varies`)
  }
})

t.test(
  'recovery codes are ten, in six groups of four characters that do not look alike',
  async (t) => {
    const codes = generateRecoveryCodes()
    t.equal(codes.length, 10)
    for (const code of codes) t.match(code, /^([0-9A-HJKMNP-TV-Z]{4}-){5}[0-9A-HJKMNP-TV-Z]{4}$/)
  }
)

t.test(
  'a recovery code has 112 bits or more: each character takes 32 values, no code repeats',
  async (t) => {
    const codes = Array.from({ length: 200 }, () => generateRecoveryCodes()).flat()
    t.equal(new Set(codes).size, 2000)
    const bare = codes.map((code) => code.replaceAll('-', ''))
    for (let index = 0; index < 24; index++) {
      t.equal(new Set(bare.map((code) => code[index])).size, 32, `character ${index}`)
    }
    t.ok(24 * Math.log2(32) >= 112)
  }
)

t.test(
  'a bearer key has an id of twelve characters and a secret of 256 bits, both new',
  async (t) => {
    const keys = Array.from({ length: 2000 }, () => generateOperatorKey())
    for (const { id, secret } of keys) {
      if (!/^[a-z0-9]{12}$/.test(id)) t.fail(`id ${id}`)
      if (Buffer.from(secret, 'base64url').toString('base64url') !== secret)
        t.fail('secret spelling')
      if (Buffer.from(secret, 'base64url').length !== 32) t.fail('secret length')
    }
    t.equal(new Set(keys.map(({ id }) => id)).size, 2000)
    t.equal(new Set(keys.map(({ secret }) => secret)).size, 2000)
    for (let index = 0; index < 12; index++) {
      t.equal(new Set(keys.map(({ id }) => id[index])).size, 36, `character ${index} of the id`)
    }
    deepStrictEqual(parseBearerKey(formatBearerKey(generateOperatorKey()))?.kind, 'operator')
  }
)
