import { deepStrictEqual } from 'node:assert/strict'
import fc from 'fast-check'
import t from 'tap'
import {
  BREACHES,
  type Breach,
  type ChainHead,
  type ChainLink,
  chainOn,
  formatHead,
  judgeEnd,
  judgeLinks,
  judgeUnchained,
  parseHead
} from '../../../src/core/audit/chain.ts'
import {
  linkOf,
  type StoredAuditEvent,
  signEvent,
  storedForm
} from '../../../src/core/audit/events.ts'
import { auditEvent } from '../../support/audit-events.ts'

const KEY = Buffer.alloc(32, 5)
const HASH = Buffer.alloc(32, 0xcd)

/** The audit trail as stored: events, the links that name them, and the queue. */
interface Trail {
  events: StoredAuditEvent[]
  links: (ChainHead & { eventId: string })[]
  queue: string[]
}

/** Returns an intact trail with this number of chained events and of waiting ones. */
function trailOf(chained: number, waiting = 0): Trail {
  const events = Array.from({ length: chained + waiting }, () =>
    storedForm(signEvent(KEY, auditEvent()))
  )
  let previous: Uint8Array | null = null
  const links = events.slice(0, chained).map(({ id, mac }, index) => {
    const sequence = BigInt(index + 1)
    previous = linkOf(KEY, { previous, sequence, mac })
    return { sequence, hash: previous, eventId: id }
  })
  return { events, links, queue: events.slice(chained).map(({ id }) => id) }
}

/** Returns the first breach that a verification in pages of this size finds. */
function verify({ events, links, queue }: Trail, page = 3, noted: ChainHead | null = null) {
  const rows = [...links]
    .sort((one, other) => Number(one.sequence - other.sequence))
    .map((link): ChainLink => {
      const event = events.find(({ id }) => id === link.eventId) ?? null
      return { ...link, accountId: event?.accountId ?? '', occurredAt: '', event }
    })
  let head: ChainHead | null = null
  for (let start = 0; start < rows.length; start += page) {
    const judged = judgeLinks(KEY, rows.slice(start, start + page), { head, noted })
    if (judged.breach) return judged.breach
    head = judged.head
  }
  const end = judgeEnd(head, noted)
  if (end) return end
  for (const event of events) {
    if (links.some(({ eventId }) => eventId === event.id)) continue
    const breach = judgeUnchained(KEY, { event, isQueued: queue.includes(event.id) })
    if (breach) return breach
  }
  return null
}

/** Returns a breach in short, with its place: a sequence number, or the id of an event without a link. */
const found = (breach: Breach | null) => breach && [breach.what, breach.sequence ?? breach.eventId]

const sizes = fc.record({
  chained: fc.integer({ min: 1, max: 12 }),
  page: fc.integer({ min: 1, max: 5 })
})
/** An intact trail, the index of one of its links, and a page size. */
const places = sizes.chain(({ chained, page }) =>
  fc.record({
    trail: fc.integer({ min: 0, max: 3 }).map((waiting) => trailOf(chained, waiting)),
    at: fc.nat(chained - 1),
    page: fc.constant(page)
  })
)

function property(check: (place: { trail: Trail; at: number; page: number }) => void): void {
  fc.assert(fc.property(places, check))
}

/** Returns the item at an index that must exist. */
function at<Item>(items: Item[], index: number): Item {
  const item = items[index]
  if (item === undefined) throw new Error(`nothing at ${index}`)
  return item
}

t.test(
  'property: an intact trail has no breach, in pages of any size, and neither has any start of it',
  async () => {
    property(({ trail, at: index, page }) => {
      deepStrictEqual(verify(trail, page), null)
      const { events, links, queue } = trail
      const start = { events: events.slice(0, index), links: links.slice(0, index), queue }
      deepStrictEqual(verify(start, page), null, 'only a noted head shows that the rest is missing')
      const noted = at(links, links.length - 1)
      deepStrictEqual(verify(trail, page, noted), null)
      deepStrictEqual(found(verify(start, page, noted)), ['head-missing', noted.sequence])
    })
  }
)

t.test('property: each altered event is found', async () => {
  const changes = fc.constantFrom<Partial<StoredAuditEvent>>(
    ...[{ reason: 'Another' }, { outcome: 'refused' }, { accountId: '' }, { details: '{}' }],
    ...[{ mac: new Uint8Array(32) }, { mac: new Uint8Array(0) }]
  )
  fc.assert(
    fc.property(places, changes, ({ trail, at: index, page }, change) => {
      const events = trail.events.with(index, { ...at(trail.events, index), ...change })
      deepStrictEqual(found(verify({ ...trail, events }, page)), [
        'event-altered',
        BigInt(index + 1)
      ])
    })
  )
})

t.test('property: each deleted event is found, with and without its link', async () => {
  property(({ trail, at: index, page }) => {
    const events = trail.events.toSpliced(index, 1)
    const sequence = BigInt(index + 1)
    deepStrictEqual(found(verify({ ...trail, events }, page)), ['event-missing', sequence])
    const links = trail.links.toSpliced(index, 1)
    const isLast = index === links.length
    const expected = isLast ? null : ['link-missing', sequence]
    deepStrictEqual(found(verify({ ...trail, events, links }, page)), expected)
    const noted = at(trail.links, index)
    const withNoted = isLast ? ['head-missing', sequence] : expected
    deepStrictEqual(found(verify({ ...trail, events, links }, page, noted)), withNoted)
  })
})

t.test(
  'property: each deleted link is found, and the last one is reported as its event',
  async () => {
    property(({ trail, at: index, page }) => {
      const links = trail.links.toSpliced(index, 1)
      const isLast = index === links.length
      deepStrictEqual(
        found(verify({ ...trail, links }, page)),
        isLast
          ? ['event-unchained', at(trail.events, index).id]
          : ['link-missing', BigInt(index + 1)]
      )
    })
  }
)

t.test('property: each altered link is found', async () => {
  const hashes = fc.constantFrom(HASH, Buffer.alloc(0), Buffer.alloc(33))
  fc.assert(
    fc.property(places, hashes, ({ trail, at: index, page }, hash) => {
      const link = { ...at(trail.links, index), hash }
      const links = trail.links.with(index, link)
      const expected = ['link-altered', link.sequence]
      deepStrictEqual(found(verify({ ...trail, links }, page)), expected)
    })
  )
})

t.test('property: if two links or two events change places, the first one is found', async () => {
  fc.assert(
    fc.property(places, fc.nat(), ({ trail, at: one, page }, step) => {
      const other = step % trail.links.length
      fc.pre(one !== other)
      const first = BigInt(Math.min(one, other) + 1)
      const swapped = <Item>(items: Item[], change: (to: Item, from: Item) => Item) =>
        items
          .with(one, change(at(items, one), at(items, other)))
          .with(other, change(at(items, other), at(items, one)))
      const named = swapped(trail.links, (to, { eventId }) => ({ ...to, eventId }))
      deepStrictEqual(found(verify({ ...trail, links: named }, page)), ['link-altered', first])
      const hashed = swapped(trail.links, (to, { hash }) => ({ ...to, hash }))
      deepStrictEqual(found(verify({ ...trail, links: hashed }, page)), ['link-altered', first])
      const events = swapped(trail.events, ({ id }, from) => ({ ...from, id }))
      deepStrictEqual(found(verify({ ...trail, events }, page)), ['event-altered', first])
    })
  )
})

t.test('property: each inserted event is found: chained, queued, or neither', async () => {
  property(({ trail, at: index, page }) => {
    const forged = { ...at(trail.events, index), id: 'a copy under another id' }
    const events = [...trail.events, forged]
    const expected = ['event-foreign', forged.id]
    deepStrictEqual(found(verify({ ...trail, events }, page)), expected)
    const queue = [...trail.queue, forged.id]
    deepStrictEqual(found(verify({ ...trail, events, queue }, page)), expected)

    const last = at(trail.links, trail.links.length - 1)
    const link = { sequence: last.sequence + 1n, hash: HASH, eventId: forged.id }
    const links = [...trail.links, link]
    deepStrictEqual(found(verify({ ...trail, events, links }, page)), [
      'event-altered',
      link.sequence
    ])
    const zeroth = [{ ...link, sequence: 0n }, ...trail.links]
    deepStrictEqual(found(verify({ ...trail, events, links: zeroth }, page)), ['link-altered', 0n])

    // Between other links, with the later sequence numbers increased by one.
    const moved = trail.links
      .slice(index)
      .map(({ sequence, ...rest }) => ({ ...rest, sequence: sequence + 1n }))
    const place = { ...link, sequence: BigInt(index + 1) }
    const between = [...trail.links.slice(0, index), place, ...moved]
    deepStrictEqual(found(verify({ ...trail, events, links: between }, page)), [
      'event-altered',
      place.sequence
    ])
  })
})

t.test(
  'property: a link that was made without the key is found, also for a genuine event',
  async () => {
    property(({ trail, page }) => {
      const late = storedForm(signEvent(KEY, auditEvent()))
      const events = [...trail.events, late]
      const sequence = BigInt(trail.links.length + 1)
      const links = [...trail.links, { sequence, hash: HASH, eventId: late.id }]
      deepStrictEqual(found(verify({ ...trail, events, links }, page)), ['link-altered', sequence])
      const far = [...trail.links, { sequence: sequence + 5n, hash: HASH, eventId: late.id }]
      deepStrictEqual(found(verify({ ...trail, events, links: far }, page)), [
        'link-missing',
        sequence
      ])
    })
  }
)

t.test(
  'a noted head that is not in the chain is found, if the chain is otherwise intact',
  async (t) => {
    const trail = trailOf(4)
    const second = at(trail.links, 1)
    t.equal(verify(trail, 3, second), null)
    const breach = verify(trail, 3, { ...second, hash: HASH })
    t.match(breach, { what: 'head-missing', sequence: 2n, eventId: at(trail.events, 1).id })
    t.same(judgeEnd(null, second), {
      what: 'head-missing',
      sequence: 2n,
      accountId: null,
      eventId: null,
      occurredAt: null
    })
    t.equal(judgeEnd(null, null), null)
  }
)

t.test('a breach contains all known facts about the row', async (t) => {
  const { events, links, queue } = trailOf(2)
  const event = at(events, 1)
  const known = { accountId: event.accountId, eventId: event.id }
  t.same(verify({ events: events.with(1, { ...event, ticket: 'x' }), links, queue }), {
    what: 'event-altered',
    sequence: 2n,
    occurredAt: '',
    ...known
  })
  t.same(judgeUnchained(KEY, { event, isQueued: false }), {
    what: 'event-unchained',
    sequence: null,
    occurredAt: event.occurredAt,
    ...known
  })
  t.equal(judgeUnchained(KEY, { event, isQueued: true }), null)
  for (const words of Object.values(BREACHES)) t.match(words, /^the [a-z ]+$/)
})

t.test('property: chaining in parts gives the same chain', async () => {
  property(({ trail, at: index }) => {
    const macs = trail.events.slice(0, trail.links.length).map(({ mac }) => mac)
    const start = chainOn(KEY, null, macs.slice(0, index))
    const rest = chainOn(KEY, start.at(-1) ?? null, macs.slice(index))
    const expected = trail.links.map(({ sequence, hash }) => ({ sequence, hash }))
    deepStrictEqual([...start, ...rest], expected)
  })
})

t.test('a head is formatted in one way and parses to the same head', async (t) => {
  const head = { sequence: 42n, hash: HASH }
  t.equal(formatHead(head), `42:${'cd'.repeat(32)}`)
  t.same(parseHead(formatHead(head)), head)
  t.same(parseHead(`42:${'CD'.repeat(32)}`), head)
  for (const text of [
    '',
    '42',
    `:${'cd'.repeat(32)}`,
    `0:${'cd'.repeat(32)}`,
    '1:',
    '1:cd',
    '1:zz'
  ]) {
    t.equal(parseHead(text), null, text)
  }
  for (const wrong of [`01:${'cd'.repeat(32)}`, `-1:${'cd'.repeat(32)}`, `1:${'cd'.repeat(33)}`]) {
    t.equal(parseHead(wrong), null, wrong)
  }
  t.equal(parseHead(`1:${'cd'.repeat(32)}\n`), null)
})
