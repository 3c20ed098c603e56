// S23: replicas share the limits on requests through Redis. While Redis is unavailable, the service rejects requests
// immediately and does not hang. It recovers by itself.
import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { TIMEOUTS } from '../../src/parts.ts'
import { startApp, type TestApp } from '../support/app.ts'
import type { Answer, Call } from '../support/calls.ts'
import { openTestDatabase } from '../support/database.ts'
import { tally, verdictOf, wrongCode } from '../support/guesses.ts'
import { isProblem } from '../support/problems.ts'
import { createRedisServer, WITH_REDIS_SERVER } from '../support/redis-server.ts'
import { createTcpProxy } from '../support/tcp-proxy.ts'

const PER_MINUTE = 40
/** The first wait after failed passwords. */
const WAIT_MS = 1000

type Command = [string, ...string[]]

t.test('limits on Redis', WITH_REDIS_SERVER, async (t) => {
  const redis = await createRedisServer(t)
  const database = await openTestDatabase(t)
  const env = {
    REDIS_URL: redis.url,
    RATE_LIMIT_PER_MINUTE: String(PER_MINUTE),
    TRUSTED_PROXIES: '127.0.0.1'
  }
  // Redis has not started yet.
  const one = await startApp(t, { database, env })
  const two = await startApp(t, { database, env, clock: one.clock })
  /** With the time limits of production, for a Redis that is silent. On a slow machine it also rejects other requests. */
  const impatient = await startApp(t, { database, env, clock: one.clock, timeouts: TIMEOUTS })
  const { call, clock, createUser, enrolledUser } = await startApp(t, {
    database,
    clock: one.clock
  })
  const user = await enrolledUser()

  await t.test('503: requests are rejected until Redis has started', async (t) => {
    await isClosed(t, one)
    await redis.start()
    await isBack(t, one, two)
  })

  await t.test('429: the requests of an address count over all replicas', async (t) => {
    const address = from(newAddress())
    const answers: Answer[] = []
    for (let index = 0; index <= PER_MINUTE; index += 1) {
      const replica = index % 2 === 0 ? one : two
      answers.push(await replica.call('GET', '/v1/users', address))
    }
    t.same(tally(answers), { '401 invalid-credential': PER_MINUTE, '429 rate-limited': 1 })
    const remaining = answers.map(({ headers }) => Number(headers['ratelimit-remaining']))
    t.same(
      remaining,
      answers.map((_, index) => Math.max(0, PER_MINUTE - 1 - index))
    )
    const retryAfter = Number(answers.at(-1)?.headers['retry-after'])
    t.ok(retryAfter >= 1 && retryAfter <= 60)
  })

  await t.test('429: the requests of a user count over all replicas', async (t) => {
    const guesser = await enrolledUser()
    const stepToken = await guesser.stepToken()
    const code = wrongCode(guesser, clock.now())
    const address = from(newAddress())
    const answers: Answer[] = []
    for (let index = 0; index <= PER_MINUTE / 4; index += 1) {
      const replica = index % 2 === 0 ? one : two
      const request = { as: stepToken, body: { code }, ...address }
      answers.push(await replica.call('POST', '/v1/verify', request))
    }
    const isLimited = answers.map(({ body }) => JSON.parse(body).code === 'rate-limited')
    t.same(isLimited, [...Array(PER_MINUTE / 4).fill(false), true])
  })

  await t.test('S6: 429: failed passwords count over all replicas', async (t) => {
    /** Four failures, and the right password on both replicas during the second that the user then has to wait. */
    const guess = async () => {
      const { account, email, password } = await createUser()
      const address = from(newAddress())
      const signIn = (app: TestApp, tried: string) =>
        app.call('POST', '/v1/login', {
          body: { account: account.slug, email, password: tried },
          ...address
        })
      const failures = [await signIn(one, 'wrong'), await signIn(two, 'wrong')]
      failures.push(await signIn(one, 'wrong'))
      const startedAt = performance.now()
      failures.push(await signIn(two, 'wrong'))
      const early = [await signIn(one, password), await signIn(two, password)]
      return { failures, early, tookMs: performance.now() - startedAt, signIn, password }
    }
    // Redis measures the wait by its own clock. On a slow machine, the wait may end before the last request.
    let round = await guess()
    while (round.tookMs > WAIT_MS) round = await guess()
    const { failures, early, signIn, password } = round
    t.same(tally(failures), { '401 invalid-credentials': 4 })
    for (const answer of early) isProblem(t, answer, 429, 'too-many-attempts')
    await sleep(WAIT_MS + 20)
    t.equal(verdictOf(await signIn(one, password)), '200')
  })

  await t.test('S26: no e-mail address is in Redis', async (t) => {
    const keys = (await redis.command('KEYS', '*')) as string[]
    t.ok(keys.length > 0)
    t.notMatch(keys.join('\n'), /@|example/)
  })

  await t.test('401: FLUSHALL and the loss of the scripts cause no failure', async (t) => {
    for (const [command, ...options] of [['FLUSHALL'], ['SCRIPT', 'FLUSH']] as const) {
      await redis.command(command, ...options)
      for (const replica of [one, two]) {
        const answer = await replica.call('GET', '/v1/users', from(newAddress()))
        t.equal(verdictOf(answer), '401 invalid-credential')
        t.equal(answer.headers['ratelimit-remaining'], String(PER_MINUTE - 1))
      }
    }
  })

  await t.test(
    '503: requests are rejected immediately while Redis is frozen, and accepted again afterwards',
    async (t) => {
      redis.freeze()
      await isClosed(t, impatient)
      await isUnjudged(t, impatient)
      redis.thaw()
      await isBack(t, impatient)
    }
  )

  await t.test(
    '503: requests are rejected immediately after Redis ended, and accepted again after it started',
    async (t) => {
      await redis.kill()
      await isClosed(t, one)
      await isClosed(t, two)
      await isUnjudged(t, one)
      await redis.start()
      await isBack(t, one, two)
    }
  )

  const states: [title: string, begin: Command, end: Command][] = [
    ['a replica of another server', ['REPLICAOF', '127.0.0.1', '1'], ['REPLICAOF', 'NO', 'ONE']],
    ['out of memory', ['CONFIG', 'SET', 'maxmemory', '1'], ['CONFIG', 'SET', 'maxmemory', '0']]
  ]
  for (const [title, begin, end] of states) {
    await t.test(`503: requests are rejected while Redis is ${title}`, async (t) => {
      await redis.command(...begin)
      await isClosed(t, one)
      await isUnjudged(t, one)
      await redis.command(...end)
      await isBack(t, one, two)
    })
  }

  await t.test(
    'a new primary is used although the connection to the old one stays open',
    async (t) => {
      const old = await createRedisServer(t)
      const promoted = await createRedisServer(t)
      await old.start()
      await promoted.start()
      const proxy = await createTcpProxy(t, portOf(old.url))
      const app = await startApp(t, {
        database,
        env: { ...env, REDIS_URL: `redis://127.0.0.1:${proxy.port}` },
        clock,
        timeouts: TIMEOUTS
      })
      await isBack(t, app)
      await old.command('REPLICAOF', '127.0.0.1', String(portOf(promoted.url)))
      proxy.leadTo(portOf(promoted.url))
      await isBack(t, app)
      t.ok(Number(await promoted.command('DBSIZE')) > 0, 'the new primary counts')
    }
  )

  /** Asserts that a right code that the closed service rejected is not used up. */
  async function isUnjudged(t: Test, closed: TestApp): Promise<void> {
    clock.advance({ minutes: 1 })
    const body = { code: user.codeAt(clock.now()) }
    const stepToken = await user.stepToken()
    const rejected = await closed.call('POST', '/v1/verify', { as: stepToken, body })
    isProblem(t, rejected, 503, 'unavailable')
    const open = await call('POST', '/v1/verify', { as: stepToken, body })
    t.equal(verdictOf(open), '200')
  }

  async function isClosed(t: Test, app: TestApp): Promise<void> {
    const { account, email, password } = user
    const login = { body: { account: account.slug, email, password } }
    for (const [method, url, request] of [
      ['POST', '/v1/login', login],
      ['POST', '/v1/verify', { as: await user.stepToken(), body: { code: '000000' } }],
      ['POST', '/v1/enroll', { body: {} }],
      ['GET', '/v1/policy', {}],
      ['GET', '/.well-known/jwks.json', {}]
    ] as const) {
      const answer = await app.call(method, url, request)
      isProblem(t, answer, 503, 'unavailable')
      t.ok(Number(answer.headers['retry-after']) > 0, `${method} ${url}: Retry-After`)
    }

    const ready = await app.call('GET', '/health/ready')
    t.match(isProblem(t, ready, 503, 'unavailable'), { detail: /redis/ })
    t.equal(verdictOf(await app.call('GET', '/health/live')), '200')
    const byKey = await app.call('GET', '/v1/users', { as: account.apiKey })
    t.equal(verdictOf(byKey), '200', 'requests that no limit counts succeed')
  }
})

function portOf(url: string): number {
  return Number(new URL(url).port)
}

let addresses = 0
/** Returns an address that no request has come from. */
function newAddress(): string {
  addresses += 1
  return `198.51.100.${addresses}`
}

function from(address: string): Call {
  return { headers: { 'x-forwarded-for': address } }
}

async function isBack(t: Test, ...apps: TestApp[]): Promise<void> {
  for (const { call } of apps) {
    while ((await call('GET', '/health/ready')).statusCode !== 200) await sleep(20)
    // On a slow machine, a command may still take longer than the time limit.
    let answer = await call('GET', '/v1/users', from(newAddress()))
    while (answer.statusCode === 503) answer = await call('GET', '/v1/users', from(newAddress()))
    t.equal(verdictOf(answer), '401 invalid-credential')
  }
}
