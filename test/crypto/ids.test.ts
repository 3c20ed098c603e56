import t from 'tap'
import { generateId } from '../../src/crypto/ids.ts'

t.test('ids are UUIDv7, no two are the same, and the later is the greater', async (t) => {
  const ids = Array.from({ length: 20_000 }, generateId)
  t.ok(
    ids.every((id) =>
      /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/.test(id)
    )
  )
  t.same(ids.toSorted(), ids)
  t.equal(new Set(ids).size, ids.length)
})

t.test('an id tells when it was made', async (t) => {
  const before = Date.now()
  const made = Number.parseInt(generateId().replaceAll('-', '').slice(0, 12), 16)
  t.ok(
    before - 1 <= made && made <= Date.now() + 20,
    'but for ids that were made too fast for the clock'
  )
})
