import t from 'tap'
import { generateId } from '../../src/crypto/ids.ts'

t.test('ids are UUIDv7, all different, and each is greater than the previous one', async (t) => {
  const ids = Array.from({ length: 20_000 }, generateId)
  t.ok(
    ids.every((id) =>
      /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/.test(id)
    )
  )
  t.same(ids.toSorted(), ids)
  t.equal(new Set(ids).size, ids.length)
})

t.test('an id contains the time at which it was generated', async (t) => {
  const before = Date.now()
  const made = Number.parseInt(generateId().replaceAll('-', '').slice(0, 12), 16)
  t.ok(
    before - 1 <= made && made <= Date.now() + 20,
    'or slightly later, if ids are generated faster than the clock moves'
  )
})
