// S31: what the keys of identity providers cost in memory, and that no account can evict the keys of another one.
import type { FastifyBaseLogger } from 'fastify'
import { SignJWT } from 'jose'
import t from 'tap'
import { createIdentityProviders, KEYS_BYTES_MAX } from '../../src/sso/identity-providers.ts'
import { createClock } from '../support/clock.ts'
import { newKey, type ProviderKey } from '../support/identity-provider.ts'

const right = await newKey('right')
const token = await signedBy(right)
const SMALL = [right.publicJwk]
/** As many bytes as one document can hold, in keys that look usable. */
const LARGE = Array.from({ length: 44 }, (_, n) => ({
  ...{ kty: 'RSA', e: 'AQAB', n: 'n'.repeat(1366), kid: `${n}`, alg: 'RS256' }
}))

/** Creates the providers over documents in memory. Each issuer has the keys of `keysOf`. */
function start(keysOf: (issuer: string) => unknown[]) {
  const clock = createClock()
  const loads: string[] = []
  const warnings: object[] = []
  const log = { warn: (facts: object) => warnings.push(facts) } as unknown as FastifyBaseLogger
  const { verifySignature } = createIdentityProviders({
    readDocument: async (address) => {
      const issuer = new URL(address).origin
      if (!address.endsWith('/keys')) return { issuer, jwks_uri: `${issuer}/keys` }
      loads.push(issuer)
      return { keys: keysOf(issuer) }
    },
    timeoutMs: 60_000,
    now: clock.now,
    log
  })
  const signIn = (accountId: string, issuer: string) =>
    verifySignature({ accountId, issuer }, token).catch(() => 'unavailable')
  return { clock, loads, warnings, signIn }
}

t.test('accounts with the same provider share its keys', async (t) => {
  const { loads, signIn } = start(() => SMALL)
  for (const account of ['one', 'two', 'one'])
    t.equal(await signIn(account, 'https://a.example'), true)
  t.same(loads, ['https://a.example'])
})

t.test(
  'an account that names one provider after another keeps the keys of the last one',
  async (t) => {
    const { clock, loads, signIn } = start(() => SMALL)
    await signIn('victim', 'https://victim.example')
    for (let n = 0; n < 2000; n += 1) await signIn('hostile', `https://h${n}.example`)
    await signIn('victim', 'https://victim.example')
    t.equal(loads.filter((issuer) => issuer === 'https://victim.example').length, 1)
    await signIn('hostile', 'https://h1999.example')
    t.equal(loads.length, 2001, 'the last one is kept')
    clock.advance({ seconds: 10 })
    await signIn('hostile', 'https://h0.example')
    t.equal(loads.length, 2002, 'an earlier one is not')
  }
)

t.test(
  '503: an account that changes its provider to and fro loads once in ten seconds',
  async (t) => {
    const { clock, loads, signIn } = start(() => SMALL)
    const [one, other] = ['https://one.example', 'https://other.example'] as const
    t.equal(await signIn('hostile', one), true)
    for (let n = 0; n < 20; n += 1) {
      await signIn('hostile', other)
      t.equal(await signIn('hostile', one), 'unavailable', 'not rejected as if it were forged')
    }
    t.same(loads, [one, other])
    clock.advance({ seconds: 10 })
    t.equal(await signIn('hostile', one), true)
    t.same(loads, [one, other, one])
  }
)

t.test('a provider stays while another account uses it', async (t) => {
  const { loads, signIn } = start(() => SMALL)
  await signIn('one', 'https://shared.example')
  await signIn('two', 'https://shared.example')
  await signIn('one', 'https://other.example')
  await signIn('two', 'https://shared.example')
  t.equal(loads.length, 2)
})

t.test('all keys together are bounded, and fresh keys of others are never dropped', async (t) => {
  const isSmall = (issuer: string) => /victim|late/.test(issuer)
  const { clock, loads, signIn } = start((issuer) => (isSmall(issuer) ? SMALL : LARGE))
  await signIn('victim', 'https://victim.example')
  const many = Math.ceil(KEYS_BYTES_MAX / JSON.stringify(LARGE).length)
  for (let n = 0; n < many; n += 1) await signIn(`hostile-${n}`, `https://h${n}.example`)
  t.equal(await signIn('hostile-x', 'https://x.example'), 'unavailable', 'there is no room')
  t.equal(await signIn('victim', 'https://victim.example'), true)
  t.equal(loads.filter((issuer) => issuer.includes('victim')).length, 1)
  clock.advance({ minutes: 11 })
  t.equal(await signIn('late', 'https://late.example'), true, 'old keys make room')
})

t.test('unusable entries are ignored, and the log says how many', async (t) => {
  const { signIn, warnings } = start(() => [{}, ...SMALL, null])
  t.equal(await signIn('one', 'https://a.example'), true)
  t.same(warnings, [{ issuer: 'https://a.example', ignored: 2, used: 1 }])
})

function signedBy({ kid, alg, privateKey }: ProviderKey): Promise<string> {
  return new SignJWT({}).setProtectedHeader({ alg, kid }).sign(privateKey)
}
