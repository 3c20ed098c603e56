// S24: when the service is asked to stop, no response is lost, and the process always exits.
import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { ON_SERVER, verbsBy } from '../support/app.ts'
import type { Answer } from '../support/calls.ts'
import { createTestDatabase } from '../support/database.ts'
import { startFleet } from '../support/fleet.ts'
import { tally } from '../support/guesses.ts'
import { startServer } from '../support/server.ts'

const CLIENTS = 6

t.test('no request fails while SIGTERM stops one replica after the other', ON_SERVER, async (t) => {
  const env = { DATABASE_URL: await createTestDatabase(t), SHUTDOWN_DELAY_SECONDS: '1' }
  const { call, replicas } = await startFleet(t, { replicas: 2, env })
  const { homeAccount } = verbsBy(call)
  const { apiKey: as } = await homeAccount()
  const answers: Answer[] = []
  const failures: unknown[] = []
  let isOver = false
  const clients = Array.from({ length: CLIENTS }, async (_, client) => {
    for (let made = 0; !isOver; made += 1) {
      const body = { email: `user${client}-${made}@example.com` }
      try {
        answers.push(await call('POST', '/v1/users', { as, body }))
        answers.push(await call('GET', '/v1/users?limit=1', { as }))
      } catch (error) {
        failures.push(error)
      }
    }
  })

  for (const replica of replicas) {
    await sleep(300)
    t.equal(await replica.stop(), 0, 'the exit code is 0')
    await replica.start()
  }
  await sleep(300)
  isOver = true
  await Promise.all(clients)
  t.same(failures, [], 'no connection is lost')
  const created = answers.filter(({ statusCode }) => statusCode === 201).length
  t.same(tally(answers), { 201: created, 200: created })
  t.comment(`${answers.length} requests`)

  const [replica] = replicas
  const stopped = replica?.stop()
  await sleep(200)
  t.equal(await replica?.stop(), 1, 'a second signal ends the process immediately')
  t.equal(await stopped, 1)
})

t.test(
  '503: readiness fails while requests are still served, until the deadline ends the process',
  ON_SERVER,
  async (t) => {
    const env = { DATABASE_URL: await createTestDatabase(t), SHUTDOWN_DELAY_SECONDS: '3' }
    const { url, stop } = await startServer(t, env)
    await neverEndingRequest(t, url)
    const before = performance.now()
    const stopped = stop()
    while ((await fetch(`${url}/health/ready`)).status === 200) await sleep(20)
    const ready = await fetch(`${url}/health/ready`)
    t.match(await ready.json(), { status: 503, detail: 'Not ready: stopping.' })
    const served = await fetch(`${url}/.well-known/jwks.json`)
    t.equal(served.status, 200)
    t.equal((await fetch(`${url}/health/live`)).status, 200)
    t.equal(await stopped, 1, 'the deadline ends the process')
    const tookMs = performance.now() - before
    t.ok(tookMs > 12_000, `not before the deadline, but after ${Math.round(tookMs)} ms`)
  }
)

t.test('200: an idle connection serves one more request during a stop', ON_SERVER, async (t) => {
  const env = { DATABASE_URL: await createTestDatabase(t), SHUTDOWN_DELAY_SECONDS: '1' }
  const { url, stop } = await startServer(t, env)
  const [idle, silent] = [await connected(t, url), await connected(t, url)]
  t.match(await exchange(idle), /^HTTP\/1.1 200/)
  const stopped = stop()
  // A refused connection shows that the service has stopped listening.
  while (await connected(t, url).then(Boolean, () => false)) await sleep(50)
  const last = await exchange(idle)
  t.match(last, /^HTTP\/1.1 200/)
  t.match(last, /\r\nconnection: close\r\n/i)
  t.equal(await stopped, 0, 'a connection without a request does not delay the stop')
  silent.destroy()
})

t.test('a stop waits for idle connections only two seconds', ON_SERVER, async (t) => {
  const env = { DATABASE_URL: await createTestDatabase(t), SHUTDOWN_DELAY_SECONDS: '1' }
  const { url, stop } = await startServer(t, env)
  const idle = await connected(t, url)
  await exchange(idle)
  t.equal(await stop(), 0)
})

async function connected(t: Test, url: string): Promise<Socket> {
  const client = connect(Number(new URL(url).port), '127.0.0.1')
  t.teardown(() => client.destroy())
  await once(client, 'connect')
  client.on('error', () => {})
  return client
}

/** Sends a request and returns the beginning of its response. */
async function exchange(client: Socket): Promise<string> {
  client.write('GET /health/live HTTP/1.1\r\nhost: x\r\n\r\n')
  const [part] = await once(client, 'data')
  return String(part)
}

/** Begins a request, and keeps sending headers as long as the server listens. */
async function neverEndingRequest(t: Test, url: string): Promise<void> {
  const client = connect(Number(new URL(url).port), '127.0.0.1')
  client.on('error', () => {})
  await once(client, 'connect')
  client.write('GET /health/live HTTP/1.1\r\nhost: x\r\n')
  const drip = setInterval(() => client.writable && client.write('x: y\r\n'), 1000)
  t.teardown(() => {
    clearInterval(drip)
    client.destroy()
  })
}
