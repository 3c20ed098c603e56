// Repetitions of one request that reach two replicas at the same time.
import { once } from 'node:events'
import { connect } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { ON_SERVER, OPERATOR_KEY, PASSWORD, startTwoApps } from '../support/app.ts'
import { verdictOf } from '../support/guesses.ts'

async function waitUntil(isSo: () => Promise<boolean>): Promise<void> {
  while (!(await isSo())) await sleep(20)
}

const ALLOWED = new Set(['201', '409 idempotency-key-in-use'])

t.test('201, 409: forty concurrent requests with one key have one effect', ON_SERVER, async (t) => {
  const apps = await startTwoApps(t)
  const [first] = apps
  const account = await first.createAccount()
  for (let round = 0; round < 5; round += 1) {
    for (const { path, as, body } of [
      { path: '/v1/accounts', as: OPERATOR_KEY, body: { slug: `race-${round}`, name: 'Race' } },
      {
        path: '/v1/api-keys',
        as: account.apiKey,
        body: { name: `race-${round}`, scopes: ['users:read'] }
      },
      {
        path: '/v1/users',
        as: account.apiKey,
        body: { email: `race-${round}@example.com`, password: PASSWORD }
      }
    ]) {
      const sent = { as, body, headers: { 'idempotency-key': `${path} ${round}` } }
      const answers = await Promise.all(
        Array.from({ length: 40 }, (_, index) => apps[index % 2 ? 0 : 1].call('POST', path, sent))
      )
      const verdicts = answers.map(verdictOf)
      t.same(
        verdicts.filter((verdict) => !ALLOWED.has(verdict)),
        [],
        path
      )
      const created = answers
        .filter(({ statusCode }) => statusCode === 201)
        .map((answer) => answer.body)
      t.equal(new Set(created).size, 1, path)
      for (const { call } of apps) t.equal((await call('POST', path, sent)).body, created[0])
    }
  }
  const { prisma } = first.database
  t.equal(await prisma.account.count({ where: { slug: { startsWith: 'race-' } } }), 5)
  t.equal(await prisma.apiKey.count({ where: { name: { startsWith: 'race-' } } }), 5)
  t.equal(await prisma.user.count({ where: { email: { startsWith: 'race-' } } }), 5)
})

t.test(
  '201: if the first response is lost, another replica gives the same API key',
  ON_SERVER,
  async (t) => {
    const [first, second] = await startTwoApps(t)
    const sent = {
      as: OPERATOR_KEY,
      headers: { 'idempotency-key': 'crash' },
      body: { slug: 'crashed', name: 'Crashed' }
    }
    const lost = await first.call('POST', '/v1/accounts', sent)
    await first.app.close()
    const again = await second.call('POST', '/v1/accounts', sent)
    t.equal(again.statusCode, 201)
    t.equal(again.json().apiKey.key, lost.json().apiKey.key)
    t.equal(
      (await second.call('GET', '/v1/users', { as: again.json().apiKey.key })).statusCode,
      200
    )
  }
)

t.test(
  '201: a key whose first client hung up before its request was refused can be used again',
  ON_SERVER,
  async (t) => {
    const [{ app, createAccount, database, call, url, logged }] = await startTwoApps(t, {
      listen: true
    })
    const { apiKey: as } = await createAccount()
    const headers = { 'idempotency-key': 'hung-up' }
    const email = 'hung-up@example.com'
    const hungUp = once(app.server, 'request').then(([, response]) => once(response, 'close'))
    await database.prisma.$transaction(async (transaction) => {
      await transaction.$executeRaw`LOCK TABLE "StoredResponse" IN ACCESS EXCLUSIVE MODE`
      const body = JSON.stringify({ email, password: 'password1' })
      const socket = connect(Number(new URL(url).port), '127.0.0.1')
      socket.write(
        `POST /v1/users HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer ${as}\r\nIdempotency-Key: hung-up\r\nContent-Type: application/json\r\nContent-Length: ${body.length}\r\n\r\n${body}`
      )
      await waitUntil(async () => {
        const waiting = await transaction.$queryRaw<object[]>`
          SELECT FROM pg_locks WHERE NOT granted AND relation = '"StoredResponse"'::regclass`
        return waiting.length === 1
      })
      socket.destroy()
      await hungUp
    })
    await waitUntil(async () => logged.some((line) => line.includes('weak-password')))
    const sent = { as, headers, body: { email, password: PASSWORD } }
    t.equal(verdictOf(await call('POST', '/v1/users', sent)), '201')
  }
)
