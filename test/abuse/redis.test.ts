import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { type Answer, startApp, type TestApp } from '../support/app.ts'
import { isProblem } from '../support/problems.ts'
import { ON_REDIS, type RedisServer, startRedis } from '../support/redis.ts'

/** S23: a limited route that can't count answers within this. */
const FAIL_WITHIN_MS = 500
/** It comes back by itself, a reconnect at a time. */
const BACK_WITHIN_MS = 5000

t.test('S23: request limits on Redis', ON_REDIS, async (t) => {
  const redis = await startRedis(t)
  const env = { REDIS_URL: redis.url, RATE_LIMIT_PER_MINUTE: '8' }
  const [one, other] = [await startApp(t, { env }), await startApp(t, { env })]
  const probe = ({ call }: TestApp) => call('GET', '/.well-known/jwks.json')

  async function backToServing(app: TestApp): Promise<void> {
    const deadline = performance.now() + BACK_WITHIN_MS
    while (performance.now() < deadline) {
      if ((await app.call('GET', '/health/ready')).statusCode === 200) return
      await sleep(50)
    }
    throw new Error('Redis is back, and the service is not')
  }

  t.test('two replicas share the counts', async (t) => {
    await redis.flush()
    const answers: Answer[] = []
    for (let request = 0; request < 10; request += 1) {
      answers.push(await probe(request % 2 === 0 ? one : other))
    }
    t.same(
      answers.map(({ statusCode }) => statusCode),
      [...Array(8).fill(200), 429, 429]
    )
  })

  t.test(
    'no address, e-mail or credential stands in Redis in the clear but the counted address',
    async (t) => {
      await redis.flush()
      const user = await one.createUser()
      await one.login({ ...user, password: 'wrong horse battery staple' })
      const names = await keysOf(redis)
      t.ok(names.length > 0)
      t.notOk(names.some((name) => name.includes(user.email) || name.includes('horse')))
    }
  )

  t.test('losing every count is harmless', async (t) => {
    await redis.flush()
    t.equal((await probe(one)).statusCode, 200)
  })

  for (const [state, fail, mend] of [
    ['frozen', () => redis.freeze(), () => redis.thaw()],
    ['gone', () => redis.stop(), () => redis.start()]
  ] as const) {
    t.test(
      `503 within half a second while Redis is ${state}, never open, and back by itself`,
      async (t) => {
        await redis.flush()
        const account = await one.createAccount()
        await fail()
        for (let request = 0; request < 12; request += 1)
          await refusedQuickly(t, await timed(() => probe(one)))
        const login = { account: account.slug, email: 'ada@example.com', password: 'wrong' }
        await refusedQuickly(t, await timed(() => one.call('POST', '/v1/login', { body: login })))
        const ready = await one.call('GET', '/health/ready')
        t.match(isProblem(t, ready, 503, 'unavailable'), { detail: /redis/ })
        t.equal((await one.call('GET', '/health/live')).statusCode, 200)
        await mend()
        await backToServing(one)
        // What a frozen Redis had been sent it counts when it wakes.
        await redis.flush()
        t.equal((await probe(one)).statusCode, 200)
      }
    )
  }
})

async function timed(call: () => Promise<Answer>): Promise<Answer & { elapsedMs: number }> {
  const startedAt = performance.now()
  const answer = await call()
  return { ...pick(answer), elapsedMs: performance.now() - startedAt }
}

// An injected answer's members are on its prototype, so a spread alone would lose them.
function pick({ statusCode, headers, body, json }: Answer): Answer {
  return { statusCode, headers, body, json }
}

async function refusedQuickly(t: Test, answer: Answer & { elapsedMs: number }): Promise<void> {
  isProblem(t, answer, 503, 'unavailable')
  t.match(answer.headers, { 'retry-after': /^\d+$/ })
  t.ok(answer.elapsedMs < FAIL_WITHIN_MS, `within ${FAIL_WITHIN_MS} ms`, { took: answer.elapsedMs })
}

async function keysOf({ url }: RedisServer): Promise<string[]> {
  const { Redis } = await import('ioredis')
  const client = new Redis(url)
  const names = await client.keys('*')
  client.disconnect()
  return names
}
