// Invented API keys cost their address a request before they cost the database a look-up.
import { randomBytes } from 'node:crypto'
import t from 'tap'
import { hashBearerSecret, parseBearerKey } from '../../src/core/bearer-keys.ts'
import { ON_EMBEDDED, startApp } from '../support/app.ts'
import { openTestDatabase, type TestDatabase } from '../support/database.ts'
import { tally, verdictOf } from '../support/guesses.ts'

const PER_MINUTE = 10

const database = await openTestDatabase(t)
let lookUps = 0
const counting = database.prisma.$extends({
  query: {
    apiKey: {
      findUnique({ args, query }) {
        lookUps += 1
        return query(args)
      }
    }
  }
})
const { call, createAccount, createApiKey } = await startApp(t, {
  database: { ...database, prisma: counting as unknown as TestDatabase['prisma'] },
  env: { RATE_LIMIT_PER_MINUTE: String(PER_MINUTE) }
})
const account = await createAccount()

let addresses = 0
function newAddress(): string {
  addresses += 1
  return `198.51.100.${addresses}`
}

const inventedKey = () =>
  `tsk_${randomBytes(6).toString('hex')}_${randomBytes(32).toString('base64url')}`

const ask = (as: string, from: string) => call('GET', '/v1/users', { as, from })

/** Returns a key in the form of release 0.1, which has no MAC. */
async function oldKey(): Promise<string> {
  const key = parseBearerKey(await createApiKey(account, 'users:read'))
  if (!key) throw new Error('no key')
  const secret = randomBytes(32).toString('base64url')
  const data = { secretHash: hashBearerSecret(secret) }
  await database.prisma.apiKey.updateMany({ where: { id: key.id }, data })
  return `tsk_${key.id}_${secret}`
}

t.test(
  'S12: 429: invented keys are looked up only as long as their address has requests left',
  ON_EMBEDDED,
  async (t) => {
    for (const concurrent of [false, true]) {
      lookUps = 0
      const from = newAddress()
      const answers = []
      for (let index = 0; index < PER_MINUTE * 5; index += 1) {
        const answer = ask(inventedKey(), from)
        answers.push(concurrent ? answer : await answer)
      }
      const { '401 invalid-credential': rejected = 0, ...others } = tally(
        await Promise.all(answers)
      )
      t.ok(rejected <= PER_MINUTE)
      t.same(Object.keys(others), ['429 rate-limited'])
      t.ok(lookUps <= PER_MINUTE, 'look-ups', { found: lookUps })
    }
  }
)

t.test(
  '200: a valid key is not counted, in the form of this release and of release 0.1',
  ON_EMBEDDED,
  async (t) => {
    for (const as of [account.apiKey, await oldKey()]) {
      const from = newAddress()
      for (let index = 0; index < PER_MINUTE * 2; index += 1) {
        t.equal(verdictOf(await ask(as, from)), '200')
      }
      const other = await call('GET', '/v1/users', { from })
      t.equal(other.headers['ratelimit-remaining'], String(PER_MINUTE - 1))
    }
  }
)

t.test('200: a valid key works at an address whose limit is spent', ON_EMBEDDED, async (t) => {
  const known = await oldKey()
  await ask(known, newAddress())
  const from = newAddress()
  for (let index = 0; index < PER_MINUTE; index += 1) await call('GET', '/v1/users', { from })
  t.equal(verdictOf(await ask(account.apiKey, from)), '200', 'with a MAC')
  t.equal(verdictOf(await ask(known, from)), '200', 'without one, known to this replica')
  t.equal(verdictOf(await ask(await oldKey(), from)), '429 rate-limited', 'without one, unknown')
})

t.test(
  '429: a revoked key is looked up once, then like an invented one',
  ON_EMBEDDED,
  async (t) => {
    const as = await createApiKey(account, 'users:read')
    t.equal(verdictOf(await ask(as, newAddress())), '200')
    await database.prisma.apiKey.deleteMany({ where: { id: parseBearerKey(as)?.id ?? '' } })
    lookUps = 0
    const from = newAddress()
    for (let index = 0; index < PER_MINUTE * 3; index += 1) await ask(as, from)
    t.ok(lookUps <= PER_MINUTE + 1, 'look-ups', { found: lookUps })
  }
)
