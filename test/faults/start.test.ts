// A service that starts before its database waits, and becomes ready when the database does.
import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { createPostgresqlServer, WITH_POSTGRESQL_SERVER } from '../support/postgresql-server.ts'
import { beginServer } from '../support/server.ts'

t.test('a start waits for the database', WITH_POSTGRESQL_SERVER, async (t) => {
  const database = await createPostgresqlServer(t)
  await database.kill()
  const { output, untilReady } = await beginServer(t, { DATABASE_URL: database.url })
  while (!output().includes('database unavailable')) await sleep(20)
  await database.start()
  const { stop } = await untilReady()
  t.equal(await stop(), 0)
})
