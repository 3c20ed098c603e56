// S23 for Redis, under the same mixed traffic as the database. While Redis is unavailable, a request that a limit
// counts gets 503 immediately, and other requests succeed. test/abuse/redis.test.ts tests how the limits recover.
import t from 'tap'
import { TIMEOUTS } from '../../src/parts.ts'
import { startApp } from '../support/app.ts'
import { openTestDatabase } from '../support/database.ts'
import { createFaults, type Fault } from '../support/faults.ts'
import { WITH_POSTGRESQL_SERVER } from '../support/postgresql-server.ts'
import { createRedisServer, WITH_REDIS_SERVER } from '../support/redis-server.ts'

const SKIP = { skip: WITH_POSTGRESQL_SERVER.skip || WITH_REDIS_SERVER.skip }
/** As docs/operate.md promises: these requests carry a valid API key, so no limit counts them. */
const AWAY = {
  away: 'redis',
  goesOn: ['reset', 'change policy', 'introspect']
} as const
const THERE = { away: null, goesOn: [] } as const

t.test('S23: the service survives an unavailable Redis', SKIP, async (t) => {
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

  await fault('Redis is down', { ...AWAY, strike: redis.kill, heal: redis.start })
  await fault('Redis is frozen', { ...AWAY, strike: redis.freeze, heal: redis.thaw })
  await fault('Redis restarts without data', {
    ...THERE,
    strike: async () => {
      await redis.kill()
      await redis.start()
    },
    heal: () => {}
  })
  await fault('Redis loses its data', {
    ...THERE,
    strike: async () => void (await redis.command('FLUSHALL')),
    heal: () => {}
  })
  await t.test('no acknowledged act is lost', isOnRecord)
})
