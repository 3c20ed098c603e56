// How the chain job shares the process with requests: it pauses between batches, except when it is behind.
import { once } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { createChaining } from '../../src/audit/chaining.ts'
import { NINE } from '../support/clock.ts'

const BATCH_MS = 20

/** Returns a chain job for three full batches and an empty one. Their events have waited for `waitedSeconds`. */
function chainingOf(waitedSeconds: number | null) {
  const upTo =
    waitedSeconds === null ? null : new Date(NINE.getTime() - waitedSeconds * 1000).toISOString()
  const limits: number[] = []
  const pauses: number[] = []
  const links = {
    async chainNext({ limit }: { limit: number }) {
      await sleep(BATCH_MS)
      limits.push(limit)
      return { chained: limits.length < 4 ? limit : 0, refused: [], upTo }
    },
    backlog: async () => ({ waiting: 0, oldestAt: null })
  }
  const log = { error: () => t.fail('no event is refused') }
  /** Resolves immediately, or when `stop` is aborted if there is one. */
  const pause = async (seconds: number, stop?: AbortSignal) => {
    pauses.push(seconds * 1000)
    if (stop && !stop.aborted) await once(stop, 'abort')
  }
  return {
    limits,
    pauses,
    ...createChaining({ links, key: Buffer.alloc(32), log, pause, now: () => NINE })
  }
}

t.test('events on time: full batches of 100, with pauses four times as long', async (t) => {
  for (const waitedSeconds of [0, 1, null]) {
    const { chainDue, limits, pauses } = chainingOf(waitedSeconds)
    await chainDue()
    t.same(limits, [100, 100, 100, 100])
    t.equal(pauses.length, 3, 'no pause after the batch that empties the queue')
    // A timer of Node may fire a millisecond early.
    for (const ms of pauses) t.ok(ms >= 4 * (BATCH_MS - 1), `${ms} ms for ${waitedSeconds} s`)
  }
})

t.test('events more than two seconds late: batches of 500, without pauses', async (t) => {
  const { chainDue, limits, pauses } = chainingOf(3)
  await chainDue()
  t.same(limits, [100, 500, 500, 500])
  t.same(pauses, [])
})

t.test('a stop ends the pause, and no batch follows', async (t) => {
  const stop = new AbortController()
  const { chainDue, limits, pauses } = chainingOf(0)
  const chained = chainDue({ stop: stop.signal })
  while (pauses.length === 0) await sleep(5)
  stop.abort()
  t.equal(await chained, 100)
  t.same(limits, [100])
})
