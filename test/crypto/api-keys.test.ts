// API keys carry a MAC of the service, so an invented one is recognised without the database.
import { randomBytes } from 'node:crypto'
import t from 'tap'
import { formatBearerKey, parseBearerKey } from '../../src/core/bearer-keys.ts'
import { createApiKeyMaker } from '../../src/crypto/api-keys.ts'

const maker = createApiKeyMaker(randomBytes(32))

t.test('a new API key has the form of every API key, and is recognised', async (t) => {
  const keys = Array.from({ length: 500 }, () => maker.make())
  for (const key of keys) {
    const read = parseBearerKey(formatBearerKey(key))
    t.equal(read !== null && maker.isMade(read), true)
  }
  t.equal(new Set(keys.map(({ id }) => id)).size, 500)
  t.equal(new Set(keys.map(({ secret }) => secret.slice(0, 37))).size, 500)
})

t.test('S12: an invented key, and a key of another deployment, is not recognised', async (t) => {
  const key = maker.make()
  const flipped = key.secret.replace(/^./, (first) => (first === 'A' ? 'B' : 'A'))
  for (const invented of [
    { ...key, secret: flipped },
    { ...key, id: 'abcdefghijkl' },
    { ...key, kind: 'operator' } as const,
    { ...key, secret: randomBytes(32).toString('base64url') },
    createApiKeyMaker(randomBytes(32)).make()
  ]) {
    t.equal(maker.isMade(invented), false)
  }
})
