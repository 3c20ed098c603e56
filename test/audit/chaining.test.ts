// How the sealer shares the process with requests: it rests between batches, but not while it is behind.
import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { createChaining } from '../../src/audit/chaining.ts'
import { pause } from '../../src/plugins/background.ts'
import { NINE } from '../support/clock.ts'

const BATCH_MS = 20

// While it rests it keeps no process alive.
const alive = setInterval(() => {}, 60_000)
t.teardown(() => clearInterval(alive))

/** Three full batches and an empty one, whose events have waited for so many seconds. */
function chainingOf(waitedSeconds: number | null, batchMs = BATCH_MS) {
  const upTo =
    waitedSeconds === null ? null : new Date(NINE.getTime() - waitedSeconds * 1000).toISOString()
  const limits: number[] = []
  const links = {
    async chainNext({ limit }: { limit: number }) {
      await sleep(batchMs)
      limits.push(limit)
      return { chained: limits.length < 4 ? limit : 0, refused: [], upTo }
    },
    backlog: async () => ({ waiting: 0, oldestAt: null })
  }
  const log = { error: () => t.fail('nothing is refused') }
  return {
    limits,
    ...createChaining({ links, key: Buffer.alloc(32), log, pause, now: () => NINE })
  }
}

async function msOf(work: Promise<unknown>): Promise<number> {
  const startedAt = performance.now()
  await work
  return performance.now() - startedAt
}

t.test('it seals a little at a time, and rests four times as long', async (t) => {
  for (const waitedSeconds of [0, 1, null]) {
    const { chainDue, limits } = chainingOf(waitedSeconds)
    const ms = await msOf(chainDue())
    t.ok(ms > 3 * 5 * BATCH_MS * 0.9, `${ms} ms for events of ${waitedSeconds} s`)
    t.same(limits, [100, 100, 100, 100])
  }
})

t.test('behind by more than two seconds, it seals more at a time, and has no rest', async (t) => {
  const { chainDue, limits } = chainingOf(3)
  const ms = await msOf(chainDue())
  t.ok(ms < 3 * 4 * BATCH_MS, `${ms} ms, less than the rests alone would take`)
  t.same(limits, [100, 500, 500, 500])
})

t.test('told to stop while it rests, it stops at once', async (t) => {
  const stop = new AbortController()
  const { chainDue, limits } = chainingOf(0, 100)
  const chained = chainDue({ stop: stop.signal })
  await sleep(200)
  stop.abort()
  const ms = await msOf(chained)
  t.ok(ms < 200, `${ms} ms, where 300 were left to rest`)
  t.equal(await chained, 100)
  t.same(limits, [100])
})
