// S24: after `kill -9` directly after the commit of a creation, a repetition at another replica shows the same API key. Runs
// only on a database server, because a second process cannot open an embedded database.
import { setImmediate as nextTurn } from 'node:timers/promises'
import t from 'tap'
import { ON_SERVER, OPERATOR_KEY } from '../support/app.ts'
import { callsOver } from '../support/calls.ts'
import { openTestDatabase } from '../support/database.ts'
import { startServer } from '../support/server.ts'

const ROUNDS = 3

t.test(
  'S24: 201: a repetition after kill -9 shows the API key that was created before it',
  ON_SERVER,
  async (t) => {
    const { prisma, url } = await openTestDatabase(t)
    const start = () => startServer(t, { DATABASE_URL: url })
    const other = await start()
    for (let round = 0; round < ROUNDS; round += 1) {
      const first = await start()
      const slug = `lost-${round}`
      const headers = { 'idempotency-key': `creation ${round}` }
      const sent = { as: OPERATOR_KEY, headers, body: { slug, name: 'Lost' } }
      // A response that arrives before the end of the process is ignored, as by a client that has given up.
      const response = callsOver(first.url)('POST', '/v1/accounts', sent).catch(() => null)
      while ((await prisma.account.count({ where: { slug } })) === 0) await nextTurn()
      await first.kill()
      await response
      const [created] = await prisma.account.findMany({
        where: { slug },
        include: { apiKeys: true }
      })
      const call = callsOver(other.url)
      for (const _ of ['once', 'twice']) {
        const again = await call('POST', '/v1/accounts', sent)
        t.equal(again.statusCode, 201)
        t.equal(again.headers['idempotent-replayed'], 'true')
        const { id, apiKey } = again.json()
        t.equal(id, created?.id)
        t.same(
          created?.apiKeys.map((key) => key.id),
          [apiKey.id]
        )
        t.equal((await call('GET', '/v1/users', { as: apiKey.key })).statusCode, 200)
      }
      t.equal(await prisma.account.count({ where: { slug } }), 1)
      const where = { accountId: created?.id ?? '', type: 'account.create' }
      t.equal(await prisma.auditEvent.count({ where }), 1, 'one audit event')
    }
  }
)
