// A valid API key is exempt from the limit of its address, and has limits of its own: per key, and per account.
import t from 'tap'
import { OPERATOR_KEY, startApp } from '../support/app.ts'
import type { Answer } from '../support/calls.ts'
import { openTestDatabase } from '../support/database.ts'
import { tally } from '../support/guesses.ts'
import { isProblem } from '../support/problems.ts'
import { createRedisServer, WITH_REDIS_SERVER } from '../support/redis-server.ts'

const PER_KEY = 6
const PER_ACCOUNT = 10
const LIMITS = {
  RATE_LIMIT_PER_KEY_PER_MINUTE: String(PER_KEY),
  RATE_LIMIT_PER_ACCOUNT_PER_MINUTE: String(PER_ACCOUNT)
}

t.test(
  '429: a key, and the keys of an account, have a limit, and others are not affected',
  async (t) => {
    const database = await openTestDatabase(t)
    const unlimited = await startApp(t, { database })
    const { call } = await startApp(t, { database, clock: unlimited.clock, env: LIMITS })
    const account = await unlimited.createAccount()
    const second = (
      await unlimited.call('POST', '/v1/api-keys', {
        as: account.apiKey,
        body: { name: 'Second', scopes: ['users:read'] }
      })
    ).json().key
    const ask = async (as: string, count: number) => {
      const answers: Answer[] = []
      for (let sent = 0; sent < count; sent += 1) {
        answers.push(await call('GET', '/v1/users', { as }))
      }
      return answers
    }
    const first = await ask(account.apiKey, PER_KEY + 2)
    t.same(tally(first), { 200: PER_KEY, '429 rate-limited': 2 })
    const refused = first.at(-1)
    if (refused) isProblem(t, refused, 429, 'rate-limited')
    t.ok(Number(refused?.headers['retry-after']) > 0)
    t.equal(refused?.headers['ratelimit-limit'], String(PER_KEY))
    // The refused requests count for the account too.
    t.same(tally(await ask(second, 4)), { 200: 2, '429 rate-limited': 2 })

    const other = await unlimited.createAccount()
    t.same(tally(await ask(other.apiKey, 3)), { 200: 3 })
    t.same(tally(await ask(OPERATOR_KEY, 3)), { '403 insufficient-scope': 3 })
  }
)

t.test(
  '429: replicas share the limit of a key, which does not apply without Redis',
  WITH_REDIS_SERVER,
  async (t) => {
    const redis = await createRedisServer(t)
    await redis.start()
    const database = await openTestDatabase(t)
    const env = { ...LIMITS, REDIS_URL: redis.url }
    const one = await startApp(t, { database, env })
    const two = await startApp(t, { database, env, clock: one.clock })
    const { apiKey: as } = await one.createAccount()
    const answers: Answer[] = []
    for (let sent = 0; sent <= PER_KEY; sent += 1) {
      answers.push(await (sent % 2 ? one : two).call('GET', '/v1/users', { as }))
    }
    t.same(tally(answers), { 200: PER_KEY, '429 rate-limited': 1 })
    await redis.kill()
    t.equal((await one.call('GET', '/v1/users', { as })).statusCode, 200)
  }
)
