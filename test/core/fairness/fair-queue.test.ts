import fc from 'fast-check'
import t from 'tap'
import { createFairQueue, type FairQueueOptions } from '../../../src/core/fairness/fair-queue.ts'

/** A queue whose work ends when the test says so. Notes what has started, ended and been refused, by key. */
function observed(slots: number, waitingMax: number, more: Partial<FairQueueOptions> = {}) {
  const refusal = () => new Error('full')
  const queue = createFairQueue({ slots, waitingMax, refusal, ...more })
  const started: string[] = []
  const refused: string[] = []
  const running: { key: string; end: () => void }[] = []
  const settled = () => new Promise((done) => setImmediate(done))
  return {
    queue,
    started,
    refused,
    running,
    async add(key: string, count = 1, owner = key): Promise<void> {
      for (let added = 0; added < count; added += 1) {
        queue
          .run(
            key,
            async () => {
              started.push(key)
              await new Promise<void>((end) => running.push({ key, end }))
            },
            owner
          )
          .catch(() => refused.push(key))
      }
      await settled()
    },
    async endOne(): Promise<void> {
      running.shift()?.end()
      await settled()
    }
  }
}

t.test('keys that wait take turns, however much each has', async (t) => {
  const { add, endOne, started, running } = observed(1, 100)
  await add('flood', 20)
  await add('one', 2)
  await add('two', 1)
  while (running.length > 0) await endOne()
  t.same(started.slice(0, 6), ['flood', 'flood', 'one', 'two', 'flood', 'one'])
  t.equal(started.length, 23)
})

t.test('a full queue sheds the newest work of the key with most of it', async (t) => {
  const { add, queue, refused, started } = observed(1, 4)
  await add('flood', 10)
  t.same(refused, Array(5).fill('flood'))
  await add('one')
  t.same(refused, Array(6).fill('flood'), 'the other key is admitted')
  await add('flood')
  t.same(refused, Array(7).fill('flood'))
  t.same(started, ['flood'])
  t.same(queue.state(), { running: 1, waiting: 4, shed: 7 })
})

t.test('of keys that have as much waiting, the newest one is shed', async (t) => {
  const { add, refused } = observed(1, 2)
  for (const key of ['one', 'two', 'three', 'four']) await add(key)
  t.same(refused, ['four'])
})

t.test('work that throws frees its slot', async (t) => {
  const { queue } = observed(1, 1)
  await t.rejects(
    queue.run('a', () => Promise.reject(new Error('failed'))),
    { message: 'failed' }
  )
  t.equal(await queue.run('a', async () => 'done'), 'done')
  t.same(queue.state(), { running: 0, waiting: 0, shed: 0 })
})

t.test('a key has at most its own slots, and the others stay free for other keys', async (t) => {
  const { add, endOne, queue, started } = observed(4, 100, { slotsPerKey: 2 })
  await add('flood', 5)
  t.same(queue.state(), { running: 2, waiting: 3, shed: 0 })
  await add('one', 3)
  t.same(started, ['flood', 'flood', 'one', 'one'])
  await endOne()
  t.same(started.slice(4), ['flood'])
  await endOne()
  t.same(started.slice(5), ['flood'], 'a key that may not run more does not stop the others')
  await endOne()
  t.same(started.slice(6), ['one'])
})

t.test('a key has more slots while no other key asks for a turn', async (t) => {
  let nowMs = 0
  const alone = { slotsPerKey: 3, afterMs: 10, clockMs: () => nowMs }
  const { add, endOne, queue, started } = observed(4, 100, { slotsPerKey: 1, alone })
  await add('flood', 5)
  t.same(queue.state(), { running: 3, waiting: 2, shed: 0 })
  await add('one')
  t.same(started, ['flood', 'flood', 'flood', 'one'], 'the other key does not wait')
  await endOne()
  await endOne()
  t.same(queue.state(), { running: 2, waiting: 2, shed: 0 }, 'each key has its share')
  await endOne()
  t.same(started.slice(4), ['flood'])
  nowMs = 11
  await add('flood', 3)
  nowMs = 22
  await add('flood')
  t.same(queue.state().waiting, 5, 'work that waits goes first')
  await endOne()
  await endOne()
  t.same(started.slice(5), ['flood', 'flood', 'flood'], 'alone again')
  t.same(queue.state(), { running: 3, waiting: 2, shed: 0 })
})

t.test('an owner with two keys is alone, and each key has its slots', async (t) => {
  const alone = { slotsPerKey: 2, afterMs: 10, clockMs: () => 0 }
  const { add, queue, started } = observed(4, 100, { slotsPerKey: 1, alone })
  await add('requests', 3, 'account')
  await add('sign-ins', 3, 'account')
  t.same(started, ['requests', 'requests', 'sign-ins', 'sign-ins'])
  t.same(queue.state(), { running: 4, waiting: 2, shed: 0 })
})

t.test('a key has at most its own places in the queue', async (t) => {
  const { add, refused } = observed(1, 100, { waitingPerKeyMax: 2 })
  await add('flood', 5)
  await add('one')
  t.same(refused, ['flood', 'flood'])
})

t.test('nothing waits for a key that has stalled', async (t) => {
  let nowMs = 0
  const stall = { afterMs: 10, clockMs: () => nowMs }
  const { add, endOne, refused, started } = observed(3, 100, { slotsPerKey: 1, stall })
  await add('stuck', 3)
  nowMs = 11
  await add('stuck')
  t.same(refused, ['stuck'])
  await add('one', 2)
  t.same(refused, ['stuck'], 'work of other keys waits')
  await endOne()
  t.same(started, ['stuck', 'one', 'stuck'])
  await add('stuck')
  t.same(refused, ['stuck', 'stuck'], 'the end of work that was stuck is no progress')
  await endOne()
  nowMs = 12
  await endOne()
  await add('stuck')
  t.same(refused, ['stuck', 'stuck'], 'work that ends soon is progress')
})

t.test('a key whose work ends is slow, and has not stalled', async (t) => {
  let nowMs = 0
  const stall = { afterMs: 10, clockMs: () => nowMs }
  const { add, endOne, refused } = observed(2, 100, { stall })
  await add('slow', 30)
  for (nowMs = 9; nowMs < 99; nowMs += 4) await endOne()
  await add('slow')
  t.same(refused, [])
})

const KEYS = ['a', 'b', 'c', 'd']

t.test('in every order of events the limits hold, and no work is lost', async (t) => {
  const steps = fc.array(fc.oneof(fc.constantFrom(...KEYS), fc.constant(null)), { maxLength: 60 })
  const size = fc.integer({ min: 1, max: 4 })
  await fc.assert(
    fc.asyncProperty(size, size, fc.nat({ max: 6 }), steps, async (slots, perKey, most, all) => {
      const observer = observed(slots, most, { slotsPerKey: perKey })
      const { add, endOne, queue, started, refused, running } = observer
      const holds = () => {
        const state = queue.state()
        const counts = KEYS.map((of) => running.filter(({ key }) => key === of).length)
        const isBounded = state.running <= slots && state.waiting <= most
        // Work waits only if no slot is free for its key.
        const isBusy = state.running === slots || counts.some((count) => count >= perKey)
        return (
          state.running === running.length &&
          isBounded &&
          counts.every((count) => count <= perKey) &&
          (state.waiting === 0 || isBusy)
        )
      }
      for (const step of all) {
        await (step === null ? endOne() : add(step))
        if (!holds()) return false
      }
      while (running.length > 0) await endOne()
      const added = all.filter((step) => step !== null).length
      return queue.state().waiting === 0 && started.length + refused.length === added
    })
  )
  t.pass()
})
