import { availableParallelism } from 'node:os'
import t from 'tap'
import { createPasswordHashing } from '../../src/crypto/password-hashing.ts'
import { Problem } from '../../src/wire/problem.ts'
import { leastCpuTime } from '../support/cpu-time.ts'

const PASSWORD = 'correct horse battery staple'
/** One running hash for each core, three at most, and twenty waiting ones. */
const PLACES = Math.min(3, availableParallelism()) + 20
const { hash, verify } = await createPasswordHashing()
/** The hashing as one account sees it. */
const hashing = {
  hash: (password: string) => hash(password, 'acme'),
  verify: (password: string, phc: string | null) => verify(password, phc, 'acme')
}
const phc = await hashing.hash(PASSWORD)

t.test('the hash is argon2id with the OWASP parameters, in PHC format', async (t) => {
  t.match(phc, /^\$argon2id\$v=19\$m=19456,t=2,p=1\$[A-Za-z0-9+/]{22}\$[A-Za-z0-9+/]{43}$/)
  t.not(await hashing.hash(PASSWORD), phc, 'each hash has a new salt')
})

t.test('only the right password has the hash', async (t) => {
  t.equal(await hashing.verify(PASSWORD, phc), true)
  for (const wrong of [
    '',
    'x',
    `${PASSWORD} `,
    ` ${PASSWORD}`,
    PASSWORD.toUpperCase(),
    phc,
    '\0'
  ]) {
    t.equal(await hashing.verify(wrong, phc), false, JSON.stringify(wrong))
  }
})

t.test('a password with NUL or of a thousand characters is hashed completely', async (t) => {
  const withNul = await hashing.hash('before\0after')
  t.equal(await hashing.verify('before\0after', withNul), true)
  t.equal(await hashing.verify('before', withNul), false)
  const long = await hashing.hash('x'.repeat(1000))
  t.equal(await hashing.verify('x'.repeat(999), long), false)
})

t.test('composed and decomposed spellings have the same hash', async (t) => {
  const spelling = 'Zoë Brontë – ñandú'
  const [composed, decomposed] = [spelling.normalize('NFC'), spelling.normalize('NFD')]
  t.not(composed, decomposed)
  t.equal(await hashing.verify(decomposed, await hashing.hash(composed)), true)
  t.equal(await hashing.verify(composed, await hashing.hash(decomposed)), true)
})

// From the reference implementation (argon2-cffi).
t.test('known answer: a hash of other software is verified', async (t) => {
  const known =
    '$argon2id$v=19$m=19456,t=2,p=1$AAECAwQFBgcICQoLDA0ODw$7FIGxMjr7wGsh6FAscEsubY5rivy2Si0IKmsolMUNL0'
  t.equal(await hashing.verify('known password', known), true)
  t.equal(await hashing.verify('another password', known), false)
})

t.test(
  'false: a user without a hash has no valid password, and the check takes as long as with a hash',
  async (t) => {
    t.equal(await hashing.verify(PASSWORD, null), false)
    t.equal(
      await hashing.verify('the password of no user', null),
      false,
      'also the decoy’s password'
    )
    const { leastMs: withHash } = await leastCpuTime(() => hashing.verify('wrong password', phc))
    const { leastMs: without } = await leastCpuTime(() => hashing.verify('wrong password', null))
    t.ok(without > 3, `${without} ms`)
    t.ok(without > withHash / 4 && without < withHash * 4, `${without} ms against ${withHash} ms`)
  }
)

t.test('throws: a malformed hash is an error, not a wrong password', async (t) => {
  for (const stored of ['', 'x', '$argon2id$v=19$m=19456,t=2,p=1$', PASSWORD]) {
    await t.rejects(hashing.verify(PASSWORD, stored), JSON.stringify(stored))
  }
})

t.test(
  '503: a full queue rejects further work immediately, with Retry-After, and recovers',
  async (t) => {
    const answers = Array.from({ length: 40 }, (_, index) =>
      index % 2 ? hashing.verify(PASSWORD, index % 4 === 1 ? phc : null) : hashing.hash(PASSWORD)
    )
    const first = await Promise.race(answers).catch((error) => error)
    t.ok(first instanceof Problem, 'rejected before the first hash is computed')
    const settled = await Promise.allSettled(answers)
    const refused = settled.filter(({ status }) => status === 'rejected')
    t.equal(refused.length, 40 - PLACES)
    t.ok(
      settled.slice(0, PLACES).every(({ status }) => status === 'fulfilled'),
      'the earliest requests are served'
    )
    for (const { reason } of refused as PromiseRejectedResult[]) {
      t.type(reason, Problem)
      t.equal(reason.code, 'unavailable')
      t.match(reason.headers['retry-after'], /^[1-9]\d*$/)
    }
    t.equal(await hashing.verify(PASSWORD, phc), true, 'the empty queue accepts work again')
  }
)

t.test(
  '200: a burst of one account sheds nothing of another, which does not wait for it',
  async (t) => {
    const order: string[] = []
    const note = (account: string) => () => order.push(account)
    const burst = Array.from({ length: 40 }, () =>
      hash(PASSWORD, 'flood').then(note('flood'), note('shed'))
    )
    const others = ['one', 'two', 'three'].map((account) =>
      verify(PASSWORD, phc, account).then(note(account))
    )
    await Promise.all(others)
    t.ok(order.filter((account) => account === 'flood').length <= 4 + PLACES - 20, String(order))
    await Promise.all(burst)
  }
)

t.test('failed work frees its place in the queue', async (t) => {
  for (let round = 0; round < 2; round++) {
    const failing = Array.from({ length: PLACES }, () => hashing.verify(PASSWORD, 'no hash'))
    const settled = await Promise.allSettled(failing)
    t.ok(settled.every((one) => one.status === 'rejected' && !(one.reason instanceof Problem)))
  }
  t.match(await hashing.hash(PASSWORD), /^\$argon2id\$/)
})
