import { deepStrictEqual } from 'node:assert/strict'
import { createHmac } from 'node:crypto'
import fc from 'fast-check'
import t from 'tap'
import {
  AUDIT_TYPES,
  type AuditEvent,
  isGenuine,
  linkOf,
  macOf,
  NO_ACCOUNT,
  type StoredAuditEvent,
  signEvent,
  storedForm
} from '../../../src/core/audit/events.ts'
import { auditEvent, HOSTILE_TEXTS } from '../../support/audit-events.ts'

const KEY = Buffer.from(Array.from({ length: 32 }, (_, index) => index))
const OTHER_KEY = Buffer.alloc(32, 7)

const EVENT: AuditEvent = {
  accountId: '0198c0de-0000-7000-8000-000000000001',
  id: '0198c0de-0000-7000-8000-000000000002',
  occurredAt: new Date('2026-01-05T09:00:00.120Z'),
  type: 'user.reset',
  outcome: 'succeeded',
  actor: { kind: 'operator', id: 'operator0001', credential: 'operator_key' },
  target: { kind: 'user', id: '0198c0de-0000-7000-8000-000000000003' },
  userId: '0198c0de-0000-7000-8000-000000000003',
  reason: 'lost "phone"',
  ticket: 'CASE-1',
  address: '198.51.100.7',
  requestId: '0198c0de-0000-7000-8000-000000000004',
  details: { authenticators: 1, note: null }
}

const stored = (event: AuditEvent, key: Uint8Array = KEY): StoredAuditEvent =>
  storedForm(signEvent(key, event))

// A database outlives every release, so these texts are written out.
t.test('known answer: an event’s MAC is HMAC-SHA-256 over its members in JSON', async (t) => {
  const text =
    '["event","0198c0de-0000-7000-8000-000000000001","0198c0de-0000-7000-8000-000000000002",' +
    '"2026-01-05T09:00:00.120Z","user.reset","succeeded","operator","operator0001","operator_key",' +
    '["user","0198c0de-0000-7000-8000-000000000003"],"0198c0de-0000-7000-8000-000000000003",' +
    '"lost \\"phone\\"","CASE-1","198.51.100.7","0198c0de-0000-7000-8000-000000000004",' +
    '{"authenticators":1,"note":null}]'
  t.same(macOf(KEY, EVENT), createHmac('sha256', KEY).update(text).digest())

  const sparse: AuditEvent = {
    ...EVENT,
    accountId: NO_ACCOUNT,
    actor: { kind: 'anonymous', id: null, credential: null },
    target: null,
    userId: null,
    reason: null,
    ticket: null,
    details: null
  }
  const sparseText =
    '["event","00000000-0000-0000-0000-000000000000","0198c0de-0000-7000-8000-000000000002",' +
    '"2026-01-05T09:00:00.120Z","user.reset","succeeded","anonymous",null,null,null,null,null,null,' +
    '"198.51.100.7","0198c0de-0000-7000-8000-000000000004"]'
  t.same(macOf(KEY, sparse), createHmac('sha256', KEY).update(sparseText).digest())
})

t.test(
  'known answer: a link is HMAC-SHA-256 over the previous link, its sequence number and the MAC',
  async (t) => {
    const mac = Buffer.alloc(32, 0xab)
    const first = `["link","1",null,"${'ab'.repeat(32)}"]`
    const hash = createHmac('sha256', KEY).update(first).digest()
    t.same(linkOf(KEY, { previous: null, sequence: 1n, mac }), hash)
    const second = `["link","2","${hash.toString('hex')}","${'ab'.repeat(32)}"]`
    const next = createHmac('sha256', KEY).update(second).digest()
    t.same(linkOf(KEY, { previous: hash, sequence: 2n, mac }), next)
  }
)

t.test('an event is genuine only if it is unchanged and its key signed it', async (t) => {
  for (const text of HOSTILE_TEXTS) {
    const event = auditEvent({
      reason: text,
      ticket: text,
      details: { [text]: text, list: [text] }
    })
    t.ok(isGenuine(KEY, stored(event)))
    t.notOk(isGenuine(OTHER_KEY, stored(event)))
  }
})

/** Other values of each member, which SQL could write. */
const OTHERS: { [Member in keyof StoredAuditEvent]: StoredAuditEvent[Member][] } = {
  accountId: [NO_ACCOUNT, ''],
  id: [NO_ACCOUNT],
  occurredAt: ['2026-01-05T09:00:00.121Z', '2026-01-05T09:00:00.12Z', null, ''],
  type: [...AUDIT_TYPES.filter((type) => type !== EVENT.type), ''],
  outcome: ['refused', ''],
  actor: [
    { ...EVENT.actor, kind: 'user' },
    { ...EVENT.actor, id: 'operator0002' },
    { ...EVENT.actor, id: null },
    { ...EVENT.actor, credential: null },
    { kind: 'operator', id: 'operator_key', credential: 'operator0001' }
  ],
  target: [
    null,
    { kind: 'user', id: NO_ACCOUNT },
    { kind: 'account', id: EVENT.userId },
    { kind: null, id: EVENT.userId },
    { kind: 'user', id: null },
    { kind: null, id: null }
  ],
  userId: [null, NO_ACCOUNT],
  reason: [null, '', 'lost "phone" ', 'CASE-1', 'lost "phone"","CASE-1'],
  ticket: [null, '', 'CASE-2', 'case-1'],
  address: ['198.51.100.8', ''],
  requestId: [NO_ACCOUNT],
  details: [
    null,
    'null',
    '{}',
    '{"note":null,"authenticators":1}',
    '{"authenticators":1, "note":null}',
    '{"authenticators":2,"authenticators":1,"note":null}',
    '{"authenticators":1.0,"note":null}'
  ],
  mac: [
    new Uint8Array(0),
    new Uint8Array(32),
    signEvent(KEY, EVENT).mac.subarray(1),
    Buffer.concat([signEvent(KEY, EVENT).mac, Buffer.alloc(1)]),
    signEvent(KEY, { ...EVENT, ticket: null }).mac
  ]
}

t.test('every other value of every member is detected', async (t) => {
  const event = stored(EVENT)
  t.ok(isGenuine(KEY, event))
  for (const [member, others] of Object.entries(OTHERS)) {
    for (const other of others) {
      t.notOk(isGenuine(KEY, { ...event, [member]: other }), `${member}: ${JSON.stringify(other)}`)
    }
  }
  const bare = stored({ ...EVENT, target: null, details: null, reason: null, ticket: null })
  t.ok(isGenuine(KEY, bare))
  for (const change of [
    { target: { kind: null, id: null } },
    { target: { kind: null, id: 'x' } },
    { details: 'null' },
    { details: '' },
    { reason: '' },
    { ticket: 'null' }
  ]) {
    t.notOk(isGenuine(KEY, { ...bare, ...change }), JSON.stringify(change))
  }
})

t.test('property: different events have different MACs', async () => {
  const text = fc.option(fc.string({ unit: 'grapheme', maxLength: 4 }))
  const json = fc.option(fc.dictionary(fc.string({ maxLength: 3 }), fc.string({ maxLength: 3 })))
  const events = fc.record({ reason: text, ticket: text, details: json })
  fc.assert(
    fc.property(events, events, (one, other) => {
      const isSame = JSON.stringify(one) === JSON.stringify(other)
      const [first, second] = [one, other].map((given) => macOf(KEY, { ...EVENT, ...given }))
      deepStrictEqual(Buffer.compare(first ?? KEY, second ?? KEY) === 0, isSame)
    })
  )
})

t.test(
  'an unpaired surrogate is replaced before signing, and a complete pair is not',
  async (t) => {
    const { reason, ticket } = signEvent(KEY, {
      ...EVENT,
      reason: 'a\ud83db',
      ticket: '👩🏽‍💻\udc00'
    })
    t.same([reason, ticket], ['a\ufffdb', '👩🏽‍💻\ufffd'])
    t.strictSame(
      signEvent(KEY, EVENT),
      { ...EVENT, mac: macOf(KEY, EVENT) },
      'nothing else changes'
    )
  }
)
