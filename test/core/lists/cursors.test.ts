import { deepStrictEqual } from 'node:assert/strict'
import fc from 'fast-check'
import t from 'tap'
import { UUID_FORM } from '../../../src/core/ids.ts'
import { decodeCursor, encodeCursor } from '../../../src/core/lists/cursors.ts'
import {
  INSTANT_PLACE_FORM,
  instantPlaceOf,
  pageAnswer,
  pageOf,
  readInstantPlace,
  readPageRequest
} from '../../../src/core/lists/pages.ts'

const ID = '018f4e3c-0000-7000-8000-000000000001'

t.test('a cursor decodes to its id, and needs no escaping in a URL', async (t) => {
  t.equal(decodeCursor(encodeCursor(ID), UUID_FORM), ID)
  t.match(encodeCursor(ID), /^[A-Za-z0-9_-]+$/)
  fc.assert(
    fc.property(fc.uuid(), (id) => deepStrictEqual(decodeCursor(encodeCursor(id), UUID_FORM), id))
  )
})

t.test('null: text that is not one of our cursors, without an error', async (t) => {
  const cursor = encodeCursor(ID)
  for (const text of [
    ...['', ID, 'x', '*', '\0', '\ud800', '🙂', 'A'.repeat(100_000)],
    ...[
      `${cursor}=`,
      `${cursor}A`,
      ` ${cursor}`,
      `${cursor}\n`,
      cursor.slice(1),
      cursor.slice(0, -1)
    ],
    ...[`${ID}\n`, `${ID} `, ID.toUpperCase(), `x${ID}`, ID.slice(1), `${ID}${ID}`].map(
      encodeCursor
    ),
    Buffer.from('???>>>').toString('base64')
  ]) {
    t.equal(decodeCursor(text, UUID_FORM), null, JSON.stringify(text.slice(0, 60)))
  }
  fc.assert(fc.property(fc.string(), (text) => decodeCursor(text, UUID_FORM) === null))
})

t.test('a cursor has one spelling, even where base64 leaves bits unused', async (t) => {
  const forms = /^.*$/s
  t.equal(decodeCursor('YQ', forms), 'a')
  for (const text of ['YR', 'YQ==', 'YQ=', 'Y Q', '/w', '_w']) {
    t.equal(decodeCursor(text, forms), null, text)
  }
})

t.test('a page request without a cursor starts at the beginning of the list', async (t) => {
  t.strictSame(readPageRequest({ limit: 20 }, UUID_FORM), { limit: 20, after: null })
  t.strictSame(readPageRequest({ limit: 5, cursor: encodeCursor(ID) }, UUID_FORM), {
    limit: 5,
    after: ID
  })
  t.equal(readPageRequest({ limit: 5, cursor: 'x' }, UUID_FORM), null)
  t.equal(readPageRequest({ limit: 5, cursor: '' }, UUID_FORM), null)
})

t.test('a page has a next page exactly if one more row was read', async (t) => {
  const rows = ['a', 'b', 'c'].map((id) => ({ id }))
  t.strictSame(pageOf(rows, 2), { rows: rows.slice(0, 2), next: 'b' })
  t.strictSame(pageOf(rows, 3), { rows, next: null })
  t.strictSame(pageOf([], 3), { rows: [], next: null })
  t.strictSame(pageOf(rows, 0), { rows: [], next: null }, 'an empty page has no last row')
  const toId = ({ id }: { id: string }) => id
  t.strictSame(pageAnswer(pageOf(rows, 2), toId), { items: ['a', 'b'], nextCursor: 'Yg' })
  t.strictSame(pageAnswer(pageOf(rows, 3), toId), { items: ['a', 'b', 'c'], nextCursor: null })
})

t.test('property: the cursors lead to every row once and in order', async () => {
  fc.assert(
    fc.property(fc.nat(30), fc.integer({ min: 1, max: 7 }), (count, limit) => {
      const all = Array.from({ length: count }, (_, index) => ({ id: String(1000 + index) }))
      const seen: string[] = []
      let cursor: string | undefined
      do {
        const request = readPageRequest({ limit, ...(cursor && { cursor }) }, /^\d{4}$/)
        const after = request?.after ?? ''
        const read = all.filter(({ id }) => id > after).slice(0, limit + 1)
        const { items, nextCursor } = pageAnswer(pageOf(read, limit), ({ id }) => id)
        seen.push(...items)
        cursor = nextCursor ?? undefined
      } while (cursor)
      deepStrictEqual(
        seen,
        all.map(({ id }) => id)
      )
    })
  )
})

t.test('property: a place by instant and id reads back, and is not a valid id', async (t) => {
  const instants = fc.date({
    min: new Date('0001-01-01T00:00:00Z'),
    max: new Date('4999-12-31T23:59:59.999Z'),
    noInvalidDate: true
  })
  fc.assert(
    fc.property(instants, fc.uuid(), (at, id) => {
      const place = instantPlaceOf({ at, id })
      deepStrictEqual(readInstantPlace(place), { at, id })
      deepStrictEqual(decodeCursor(encodeCursor(place), INSTANT_PLACE_FORM), place)
      deepStrictEqual(decodeCursor(encodeCursor(place), UUID_FORM), null)
    })
  )
  for (const text of ['', ID, `.${ID}`, `-0.${ID}`, `01.${ID}`, `1e3.${ID}`, `1.${ID}\n`, '1.']) {
    t.equal(readInstantPlace(text), null, JSON.stringify(text))
  }
})
