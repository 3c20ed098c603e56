import { deepStrictEqual, notDeepStrictEqual } from 'node:assert/strict'
import { createHmac } from 'node:crypto'
import fc from 'fast-check'
import t from 'tap'
import { normalizeRecoveryCode, RECOVERY_CODES_COUNT } from '../../src/core/recovery-codes.ts'
import { createRecoveryCodeHasher } from '../../src/crypto/recovery-code-hashing.ts'
import { generateRecoveryCodes } from '../../src/crypto/secrets.ts'

const KEY = Buffer.alloc(32, 3)
const OWNER = { accountId: 'account-1', userId: 'user-1' }
const CODE = 'A1B0-C1D2-E3F4-G5H6-J7K8-M9N0'
const hasher = createRecoveryCodeHasher(KEY)

t.test(
  'ten codes at a time, each six groups of four from an alphabet without look-alikes',
  async (t) => {
    t.equal(RECOVERY_CODES_COUNT, 10)
    const codes = generateRecoveryCodes()
    t.equal(codes.length, 10)
    for (const code of codes) t.match(code, /^([0-9A-HJKMNP-TV-Z]{4}-){5}[0-9A-HJKMNP-TV-Z]{4}$/)
  }
)

t.test(
  'a code has at least 112 bits: every character takes all 32 values, none comes twice',
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

t.test('case, spaces and hyphens don’t count, and o, i, l read as 0, 1, 1', async (t) => {
  for (const typed of [
    ...[CODE, CODE.toLowerCase(), CODE.replaceAll('-', ''), CODE.replaceAll('-', ' ')],
    ...[` ${CODE}\n`, CODE.replaceAll('-', '--'), CODE.replaceAll('-', ' - '), `-${CODE}-`],
    ...['AIBO-CLD2-E3F4-G5H6-J7K8-M9NO', 'aib0 cld2-e3f4g5h6j7k8m9no'],
    ...[CODE.replaceAll('-', '\u00a0'), CODE.replaceAll('-', '\t')]
  ]) {
    t.equal(normalizeRecoveryCode(typed), 'A1B0C1D2E3F4G5H6J7K8M9N0', JSON.stringify(typed))
  }
  for (const [typed, normalized] of [
    ['oOiIlL', '001111'],
    ['', ''],
    [' - ', ''],
    ['u', 'U'],
    ['A1B0_C1', 'A1B0_C1'],
    ['\0', '\0']
  ] as const) {
    t.equal(normalizeRecoveryCode(typed), normalized)
  }
})

t.test('property: however a person spells a new code, it has the same hash', async () => {
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

t.test('property: normalising twice changes nothing more, and never throws', async () => {
  fc.assert(
    fc.property(fc.string(), (typed) => {
      const once = normalizeRecoveryCode(typed)
      deepStrictEqual(normalizeRecoveryCode(once), once)
    })
  )
})

t.test('known answer: the hash is HMAC-SHA-256 over owner and code', async (t) => {
  const expected = createHmac('sha256', KEY)
    .update('["account-1","user-1","A1B0C1D2E3F4G5H6J7K8M9N0"]')
    .digest()
  t.strictSame([...hasher.hash(CODE, OWNER)], [...expected])
})

t.test('the hash differs by code, by owner and by key', async (t) => {
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

t.test('property: two owners never share a hash', async () => {
  const owners = fc.record({ accountId: fc.string(), userId: fc.string() })
  fc.assert(
    fc.property(owners, owners, (one, other) => {
      fc.pre(one.accountId !== other.accountId || one.userId !== other.userId)
      notDeepStrictEqual(hasher.hash(CODE, one), hasher.hash(CODE, other))
    })
  )
})
