// S23 for Redis, under the same mixed traffic as the database: what it would count is 503 at once while it is away, and
// what no limit counts goes on. How the limits themselves come back is in test/abuse/redis.test.ts.
import t from 'tap'
import { TIMEOUTS } from '../../src/parts.ts'
import { startApp } from '../support/app.ts'
import { openTestDatabase } from '../support/database.ts'
import { createFaults, type Fault } from '../support/faults.ts'
import { WITH_POSTGRESQL_SERVER } from '../support/postgresql-server.ts'
import { createRedisServer, WITH_REDIS_SERVER } from '../support/redis-server.ts'

const SKIP = { skip: WITH_POSTGRESQL_SERVER.skip || WITH_REDIS_SERVER.skip }
/** What docs/operate.md promises; sent by a live API key are the others, which no limit counts. */
const AWAY = {
  away: 'redis',
  goesOn: ['reset', 'change policy', 'introspect']
} as const
const THERE = { away: null, goesOn: [] } as const

t.test('S23: Redis is away', SKIP, async (t) => {
  const redis = await createRedisServer(t)
  await redis.start()
  const database = await openTestDatabase(t)
  const app = await startApp(t, {
    database,
    env: { REDIS_URL: redis.url },
    timeouts: TIMEOUTS
  })
  const { survive, isOnRecord } = await createFaults(app)
  const fault = (title: string, given: Fault) => t.test(title, (t) => survive(t, given))

  await fault('gone', { ...AWAY, strike: redis.kill, heal: redis.start })
  await fault('frozen', { ...AWAY, strike: redis.freeze, heal: redis.thaw })
  await fault('restarted, empty', {
    ...THERE,
    strike: async () => {
      await redis.kill()
      await redis.start()
    },
    heal: () => {}
  })
  await fault('flushed', {
    ...THERE,
    strike: async () => void (await redis.command('FLUSHALL')),
    heal: () => {}
  })
  await t.test('nothing that was acknowledged is lost', isOnRecord)
})
