import { setImmediate as turn } from 'node:timers/promises'
import t from 'tap'
import { inBatches } from '../../../src/data/engine/batches.ts'

function recordingDoubles(max: number) {
  const batches: number[][] = []
  const double = inBatches(
    async (numbers: readonly number[]) => {
      batches.push([...numbers])
      if (numbers.includes(13)) throw new Error('thirteen')
      return numbers.map((number) => number * 2)
    },
    { max }
  )
  return { batches, double }
}

t.test('calls of one turn share a batch, and each gets its own result', async (t) => {
  const { batches, double } = recordingDoubles(10)
  t.same(await Promise.all([3, 1, 3].map(double)), [6, 2, 6])
  t.same(batches, [[3, 1, 3]], 'the same input twice is two calls')
  await turn()
  t.equal(await double(1), 2, 'no result is cached')
  t.same(batches.slice(1), [[1]])
})

t.test('a batch never exceeds the maximum', async (t) => {
  const { batches, double } = recordingDoubles(2)
  t.same(await Promise.all([1, 2, 3, 4, 5].map(double)), [2, 4, 6, 8, 10])
  t.same(batches, [[1, 2], [3, 4], [5]])
})

t.test('an error rejects all calls of its batch, and no others', async (t) => {
  const { double } = recordingDoubles(2)
  const outcomes = await Promise.allSettled([1, 13, 3, 4].map(double))
  t.same(
    outcomes.map(({ status }) => status),
    ['rejected', 'rejected', 'fulfilled', 'fulfilled']
  )
  t.equal(await double(2), 4)
})
