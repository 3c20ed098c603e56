// S23 for the database, with a server of the test's own that is really stopped, frozen and promoted.
import t from 'tap'
import { openDatabase } from '../../src/data/engine/database.ts'
import { TIMEOUTS } from '../../src/parts.ts'
import { startApp } from '../support/app.ts'
import { createFaults, type Fault } from '../support/faults.ts'
import { createPostgresqlServer, WITH_POSTGRESQL_SERVER } from '../support/postgresql-server.ts'
import { createTcpProxy } from '../support/tcp-proxy.ts'

const AWAY = { away: 'database', goesOn: ['jwks'] } as const
/** What is only read is answered until the first write, or the next probe, finds out. */
const READS = ['introspect', 'policy', 'users', 'audit events']
const ON_AND_OFF = { away: null, goesOn: ['jwks'] } as const

t.test('S23: the database is away', WITH_POSTGRESQL_SERVER, async (t) => {
  const server = await createPostgresqlServer(t)
  const proxy = await createTcpProxy(t, server.port)
  const url = server.url.replace(`:${server.port}/`, `:${proxy.port}/`)
  const database = await openDatabase({ url })
  t.teardown(() => database.close())
  await database.migrate()
  const app = await startApp(t, { database, timeouts: TIMEOUTS })
  const { survive, isOnRecord } = await createFaults(app)
  const fault = (title: string, given: () => Fault | Promise<Fault>) =>
    t.test(title, async (t) => survive(t, await given()))

  await fault('gone', () => ({ ...AWAY, strike: server.kill, heal: server.start }))

  await fault('frozen', () => ({ ...AWAY, strike: server.freeze, heal: server.thaw }))

  await fault('silent: connections stay open, and nothing comes back', () => ({
    ...AWAY,
    strike: () => proxy.delayBy(60_000),
    heal: () => proxy.delayBy(0)
  }))

  await fault('slow: what takes too long is 503', () => ({
    ...ON_AND_OFF,
    mustReject: true,
    strike: () => proxy.delayBy(300),
    heal: () => proxy.delayBy(0)
  }))

  await fault('restarted', () => {
    let isUp: Promise<void> | undefined
    return {
      ...ON_AND_OFF,
      strike: async () => {
        await server.kill()
        isUp = server.start()
      },
      heal: () => isUp
    }
  })

  await fault('out of connections', () => ({
    ...AWAY,
    strike: server.occupy,
    heal: server.vacate
  }))

  await fault('read-only', () => ({
    ...AWAY,
    mayGoOn: READS,
    strike: () => server.set('default_transaction_read_only', 'on'),
    heal: () => server.set('default_transaction_read_only', 'off')
  }))

  await fault('failing over, while connections to the old server stay open', async () => {
    // It outlives this fault: from here on it is the server.
    const standby = await server.createStandby(t)
    // What is acknowledged is on both servers then.
    await server.set('synchronous_standby_names', '*')
    return {
      ...AWAY,
      mayGoOn: READS,
      strike: () => server.set('default_transaction_read_only', 'on'),
      heal: async () => {
        proxy.leadTo(standby.port)
        await standby.query('SELECT pg_promote()')
      }
    }
  })

  await t.test('nothing that was acknowledged is lost', isOnRecord)
})
