import { deepStrictEqual, equal } from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import fc from 'fast-check'
import t from 'tap'
import { createResealer, SEALED_KINDS, type SealedKind } from '../../src/crypto/resealing.ts'
import {
  createSealer,
  type MasterKey,
  masterKeyIdOf,
  SERVICE_KEY_IDS
} from '../../src/crypto/sealing.ts'

const masterKey = (id: string): MasterKey => ({ id, key: randomBytes(32) })
const [OLD, NEW, LOST] = [masterKey('k1'), masterKey('k2'), masterKey('k0')]

/** Returns the purpose of a kind, independently of the service. */
const purposeOf = (kind: SealedKind, id: string) => {
  if (kind === 'service keys') return `${id as 'audit'}-key` as const
  if (kind === 'stored responses') return 'stored-response' as const
  return kind === 'signing keys' ? ('signing-key' as const) : ('authenticator-secret' as const)
}
const anyValue = fc
  .record({ kind: fc.constantFrom(...SEALED_KINDS), secret: fc.uint8Array({ maxLength: 200 }) })
  .chain(({ kind, secret }) => {
    const ids = fc.array(fc.uuid(), { minLength: 1, maxLength: 3 })
    const context =
      kind === 'service keys' ? fc.constantFrom(...SERVICE_KEY_IDS).map((id) => [id]) : ids
    return fc.record({ kind: fc.constant(kind), secret: fc.constant(secret), context })
  })

t.test(
  'property: a resealed value has the same secret and context, under the newest key',
  async () => {
    const resealer = createResealer([NEW, OLD])
    fc.assert(
      fc.property(anyValue, ({ kind, secret, context }) => {
        const purpose = purposeOf(kind, context[0] ?? '')
        const sealed = createSealer([OLD], purpose).seal(secret, context)
        const resealing = resealer.reseal(kind, { context, sealed })
        if (resealing.outcome !== 'resealed') throw new Error(resealing.outcome)
        deepStrictEqual(
          [...createSealer([NEW], purpose).unseal(resealing.sealed, context)],
          [...secret]
        )
        equal(masterKeyIdOf(resealing.sealed), 'k2')
        const again = resealer.reseal(kind, { context, sealed: resealing.sealed })
        deepStrictEqual(again, { outcome: 'sealed-by-newest' }, 'only once')
      })
    )
  }
)

t.test(
  'a value that the ring cannot open is reported with the reason, without an error',
  async (t) => {
    const resealer = createResealer([NEW, OLD])
    const context = ['account', 'user', 'authenticator']
    const reseal = (sealed: string, to = context) =>
      resealer.reseal('authenticators', { context: to, sealed })
    const lost = createSealer([LOST], 'authenticator-secret').seal(randomBytes(20), context)
    t.same(reseal(lost), {
      outcome: 'not-opened',
      reason: 'sealed by master key "k0", which MASTER_KEYS does not hold'
    })
    const moved = createSealer([OLD], 'authenticator-secret').seal(randomBytes(20), context)
    t.match(reseal(moved, ['account', 'user', 'other']), {
      reason: /holds another key under the id "k1", or the value was altered or moved/
    })
    t.match(reseal('garbage'), { outcome: 'not-opened', reason: 'not a sealed value' })
  }
)

t.test('a sealed value contains the id of its master key', async (t) => {
  const sealed = createSealer([NEW, OLD], 'signing-key').seal(randomBytes(20), [])
  t.equal(masterKeyIdOf(sealed), 'k2')
  for (const text of ['', '.', '1.', '1..x', '1.k2', '2.k2.x', '1.k2.x.y', 'k2']) {
    t.equal(masterKeyIdOf(text), null, text)
  }
})
