import { deepStrictEqual, notDeepStrictEqual } from 'node:assert/strict'
import { createHmac } from 'node:crypto'
import fc from 'fast-check'
import t from 'tap'
import { createRecoveryCodeHasher } from '../../src/crypto/recovery-code-hashing.ts'
import { generateRecoveryCodes } from '../../src/crypto/secrets.ts'

const KEY = Buffer.alloc(32, 3)
const OWNER = { accountId: 'account-1', userId: 'user-1' }
const CODE = 'A1B0-C1D2-E3F4-G5H6-J7K8-M9N0'
const hasher = createRecoveryCodeHasher(KEY)

t.test('known answer: the hash is HMAC-SHA-256 over the owner and the code', async (t) => {
  const expected = createHmac('sha256', KEY)
    .update('["account-1","user-1","A1B0C1D2E3F4G5H6J7K8M9N0"]')
    .digest()
  t.strictSame([...hasher.hash(CODE, OWNER)], [...expected])
})

t.test('different codes, owners and keys have different hashes', async (t) => {
  const hashes = [
    hasher.hash(CODE, OWNER),
    hasher.hash(CODE.replace('A', 'B'), OWNER),
    hasher.hash('', OWNER),
    hasher.hash(CODE, { ...OWNER, userId: 'user-2' }),
    hasher.hash(CODE, { ...OWNER, accountId: 'account-2' }),
    hasher.hash(CODE, { accountId: OWNER.userId, userId: OWNER.accountId }),
    hasher.hash(CODE, { accountId: 'account-1user-1', userId: '' }),
    hasher.hash(CODE, { accountId: 'account-1","user-1', userId: '' }),
    createRecoveryCodeHasher(Buffer.alloc(32, 2)).hash(CODE, OWNER)
  ].map((hash) => Buffer.from(hash).toString('hex'))
  t.equal(new Set(hashes).size, hashes.length)
  t.ok(hashes.every((hash) => hash.length === 64))
})

t.test('property: all spellings of a new code have the same hash', async () => {
  const spellings = fc.array(
    fc.record({
      lower: fc.boolean(),
      alike: fc.boolean(),
      between: fc.constantFrom('', '', '', '-', ' ', ' - ', '\n')
    }),
    { minLength: 24, maxLength: 24 }
  )
  const alikes: Record<string, string> = { '0': 'O', '1': 'L' }
  fc.assert(
    fc.property(spellings, (spelling) => {
      const [code = ''] = generateRecoveryCodes()
      const typed = [...code.replaceAll('-', '')].map((character, index) => {
        const { lower, alike, between } = spelling[index] ?? { between: '' }
        const one = (alike && alikes[character]) || character
        return between + (lower ? one.toLowerCase() : one)
      })
      deepStrictEqual(hasher.hash(typed.join(''), OWNER), hasher.hash(code, OWNER))
    })
  )
})

t.test('property: two owners never have the same hash', async () => {
  const owners = fc.record({ accountId: fc.string(), userId: fc.string() })
  fc.assert(
    fc.property(owners, owners, (one, other) => {
      fc.pre(one.accountId !== other.accountId || one.userId !== other.userId)
      notDeepStrictEqual(hasher.hash(CODE, one), hasher.hash(CODE, other))
    })
  )
})
