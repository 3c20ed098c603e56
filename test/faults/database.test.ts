// S23 for the database: the test stops, freezes and promotes a real server of its own.
import t from 'tap'
import { openDatabase } from '../../src/data/engine/database.ts'
import { TIMEOUTS } from '../../src/parts.ts'
import { startApp } from '../support/app.ts'
import { createFaults, type Fault } from '../support/faults.ts'
import { createPostgresqlServer, WITH_POSTGRESQL_SERVER } from '../support/postgresql-server.ts'
import { createTcpProxy } from '../support/tcp-proxy.ts'

const AWAY = { away: 'database', goesOn: ['jwks'] } as const
/** Requests that only read. They succeed until the first write or the next probe detects the fault. */
const READS = ['introspect', 'policy', 'users', 'audit events']
const ON_AND_OFF = { away: null, goesOn: ['jwks'] } as const

t.test('S23: the service survives an unavailable database', WITH_POSTGRESQL_SERVER, async (t) => {
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

  await fault('the server is down', () => ({ ...AWAY, strike: server.kill, heal: server.start }))

  await fault('the server is frozen', () => ({ ...AWAY, strike: server.freeze, heal: server.thaw }))

  await fault('connections stay open without responses', () => ({
    ...AWAY,
    strike: () => proxy.delayBy(60_000),
    heal: () => proxy.delayBy(0)
  }))

  await fault('the server is slow, and a request that takes too long gets 503', () => ({
    ...ON_AND_OFF,
    mustReject: true,
    strike: () => proxy.delayBy(300),
    heal: () => proxy.delayBy(0)
  }))

  await fault('the server restarts', () => {
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

  await fault('the server has no free connection', () => ({
    ...AWAY,
    strike: server.occupy,
    heal: server.vacate
  }))

  await fault('the server is read-only', () => ({
    ...AWAY,
    mayGoOn: READS,
    strike: () => server.set('default_transaction_read_only', 'on'),
    heal: () => server.set('default_transaction_read_only', 'off')
  }))

  await fault('the server fails over while connections to the old server stay open', async () => {
    // The standby outlives this fault and is the server from here on.
    const standby = await server.createStandby(t)
    // With this setting, every acknowledged commit is on both servers.
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

  await t.test('no acknowledged act is lost', isOnRecord)
})
