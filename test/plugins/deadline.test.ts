// S23: no caller waits for a response longer than the deadline, whatever a handler waits for.
import { Readable } from 'node:stream'
import { setTimeout as sleep } from 'node:timers/promises'
import Fastify from 'fastify'
import t, { type Test } from 'tap'
import { deadline } from '../../src/plugins/deadline.ts'
import { problemHandling } from '../../src/plugins/problem-handling.ts'
import { Problem } from '../../src/wire/problem.ts'

const WITHIN_MS = 100
/** Enough for a response on a very slow machine. */
const AMPLE_MS = 3000

async function startApp(t: Test, answerWithinMs = WITHIN_MS) {
  const logged: { msg: string; level: number }[] = []
  const app = Fastify({ logger: { stream: { write: (line) => logged.push(JSON.parse(line)) } } })
  t.teardown(() => app.close())
  await app.register(deadline, { answerWithinMs })
  await app.register(problemHandling, {
    isDatabaseUnavailable: () => false,
    actingKeyRefusal: () => null,
    audit: {
      recordRefusal: async ({ url }) => {
        if (url === '/refused') await sleep(2 * WITHIN_MS)
      }
    }
  })
  app.get('/quick', async () => 'an answer')
  app.get('/never', () => new Promise(() => {}))
  app.get('/late', () => sleep(2 * WITHIN_MS, 'too late'))
  app.get('/late-failure', () => sleep(2 * WITHIN_MS).then(() => Promise.reject(new Error('late'))))
  app.get('/refused', async () => {
    throw new Problem('not-found')
  })
  app.get('/long', async (_request, reply) => {
    reply.type('text/plain')
    return Readable.from(pieces())
  })
  return { app, logged }
}

async function* pieces() {
  for (let piece = 0; piece < 4; piece += 1) {
    yield `piece ${piece}\n`
    await sleep(AMPLE_MS / 3)
  }
}

t.test('503: the deadline rejects a request, with Retry-After and a log line', async (t) => {
  const { app, logged } = await startApp(t)
  for (const url of ['/never', '/late', '/late-failure', '/refused']) {
    const startedAt = performance.now()
    const answer = await app.inject(url)
    t.equal(answer.statusCode, 503, url)
    t.match(answer.json(), { code: 'unavailable', status: 503 })
    t.ok(Number(answer.headers['retry-after']) > 0)
    const tookMs = performance.now() - startedAt
    t.ok(tookMs >= WITHIN_MS - 1, `not before the deadline, but after ${tookMs} ms`)
  }
  await sleep(2 * WITHIN_MS)
  const lines = logged.filter(({ msg }) => msg === 'request deadline exceeded')
  t.equal(lines.length, 4)
})

t.test('200: a response before the deadline causes no line in the log', async (t) => {
  const { app, logged } = await startApp(t, AMPLE_MS)
  t.equal((await app.inject('/quick')).payload, 'an answer')
  const long = await app.inject('/long')
  t.equal(long.payload, 'piece 0\npiece 1\npiece 2\npiece 3\n', 'a long response begins in time')
  await sleep(AMPLE_MS)
  t.notOk(logged.some(({ level }) => level >= 40))
})

t.test('the deadline of a disconnected client is not logged', async (t) => {
  const { app, logged } = await startApp(t)
  const url = await app.listen({ port: 0, host: '127.0.0.1' })
  const hungUp = fetch(`${url}/never`, { signal: AbortSignal.timeout(WITHIN_MS / 2) })
  await t.rejects(hungUp)
  await sleep(2 * WITHIN_MS)
  t.notOk(logged.some(({ level }) => level >= 40))
})
