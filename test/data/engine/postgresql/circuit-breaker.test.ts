import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { createCircuitBreaker } from '../../../../src/data/engine/postgresql/circuit-breaker.ts'

const SILENCE = new Error('no answer')
const BUSY = new Error('no connection to spare')

function breakerOver(t: Test) {
  const server = { isAway: true, probes: 0 }
  const heard: string[] = []
  const breaker = createCircuitBreaker({
    trips: (error) => error === SILENCE,
    probe: async () => {
      server.probes += 1
      if (server.isAway) throw SILENCE
    },
    onOpen: () => heard.push('open'),
    onClose: () => heard.push('closed'),
    refusal: (cause) => new Error('refused', { cause })
  })
  t.teardown(() => breaker.end())
  return { breaker, server, heard }
}

const fail = (error: Error) => async () => {
  throw error
}

t.test(
  'closed: an error that does not affect the next call leaves the circuit closed',
  async (t) => {
    const { breaker, heard } = breakerOver(t)
    await t.rejects(breaker.guard(fail(BUSY)), BUSY)
    t.equal(await breaker.guard(async () => 'done'), 'done')
    t.same(heard, [])
  }
)

t.test('open: every call is rejected immediately, and its work is not started', async (t) => {
  const { breaker, heard } = breakerOver(t)
  await Promise.all([1, 2, 3].map(() => t.rejects(breaker.guard(fail(SILENCE)), SILENCE)))
  t.same(heard, ['open'], 'only once, although several calls failed')
  const work = async () => t.fail('the work was started')
  await t.rejects(breaker.guard(work), { message: 'refused', cause: SILENCE })
})

t.test(
  'open: the circuit closes by itself when the server is available, and opens again',
  async (t) => {
    const { breaker, server, heard } = breakerOver(t)
    await t.rejects(breaker.guard(fail(SILENCE)))
    server.isAway = false
    while (!heard.includes('closed')) await sleep(5)
    t.equal(await breaker.guard(async () => 'done'), 'done')
    server.isAway = true
    await t.rejects(breaker.guard(fail(SILENCE)))
    t.same(heard, ['open', 'closed', 'open'])
  }
)

t.test(
  'closed: work that started before the outage and fails late does not open the circuit',
  async (t) => {
    const { breaker, server, heard } = breakerOver(t)
    const late = breaker.guard(async () => {
      while (!heard.includes('closed')) await sleep(5)
      throw SILENCE
    })
    const isRejected = t.rejects(late, SILENCE)
    await t.rejects(breaker.guard(fail(SILENCE)))
    server.isAway = false
    await isRejected
    t.same(heard, ['open', 'closed'])
    t.equal(await breaker.guard(async () => 'done'), 'done')
  }
)

t.test('ended: no more probes are made', async (t) => {
  const { breaker, server } = breakerOver(t)
  await t.rejects(breaker.guard(fail(SILENCE)))
  breaker.end()
  const { probes } = server
  await sleep(600)
  t.ok(server.probes <= probes + 1)
})
