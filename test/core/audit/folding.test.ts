import t from 'tap'
import {
  actorAndActOf,
  eventOfFolded,
  foldTogether,
  isFoldable,
  refusalToFold
} from '../../../src/core/audit/folding.ts'
import { auditEvent } from '../../support/audit-events.ts'
import { NINE } from '../../support/clock.ts'

const key = { kind: 'api_key', id: 'abcdefghijkl', credential: 'api_key' } as const
const nobody = { kind: 'anonymous', id: null, credential: null } as const
const refusal = auditEvent({ outcome: 'refused', reason: 'user-not-found', actor: key })

t.test('refusals are folded, except refused guesses', async (t) => {
  t.ok(isFoldable(refusal))
  t.notOk(isFoldable({ ...refusal, outcome: 'succeeded' }))
  for (const reason of ['invalid-credentials', 'password-rejected', 'code-rejected']) {
    t.notOk(isFoldable({ ...refusal, reason }), reason)
  }
})

t.test('one actor and one act have one key, whatever the target', async (t) => {
  const name = actorAndActOf(refusal)
  const same = { id: 'x', requestId: 'y', userId: null, target: null, address: '203.0.113.1' }
  t.equal(actorAndActOf({ ...refusal, ...same }), name)
  const others = [
    { accountId: auditEvent().accountId },
    { actor: { ...key, id: 'zzzzzzzzzzzz' } },
    { actor: nobody },
    { type: 'user.delete' as const },
    { reason: 'self-reset-forbidden' },
    { details: { why: 'expired' } }
  ]
  for (const other of others) t.not(actorAndActOf({ ...refusal, ...other }), name)
})

t.test('an unknown actor is one network', async (t) => {
  const at = (address: string) => actorAndActOf({ ...refusal, actor: nobody, address })
  t.equal(at('2001:db8:0:1::1'), at('2001:db8:0:1:ffff::2'))
  t.not(at('2001:db8:0:1::1'), at('2001:db8:0:2::1'))
  t.not(at('198.51.100.7'), at('198.51.100.8'))
})

t.test(
  'the event of folded refusals has their number, their times and the last request',
  async (t) => {
    const second = new Date(NINE.getTime() + 1000)
    const later = { ...refusal, occurredAt: second, requestId: 'last', address: '203.0.113.1' }
    const folded = foldTogether(
      foldTogether(null, refusalToFold({ ...refusal, details: { why: 'expired' } })),
      refusalToFold({ ...later, details: { why: 'expired' } })
    )
    const occurredAt = new Date(NINE.getTime() + 60_000)
    t.same(eventOfFolded(folded, { id: 'new', occurredAt }), {
      ...later,
      id: 'new',
      occurredAt,
      details: {
        why: 'expired',
        count: 2,
        firstAt: NINE.toISOString(),
        lastAt: second.toISOString()
      }
    })
    const elsewhere = refusalToFold(auditEvent({ outcome: 'refused', actor: key }))
    const { last, count } = foldTogether(folded, elsewhere)
    t.match(
      { count, target: last.target, userId: last.userId },
      { count: 3, target: null, userId: null }
    )
  }
)
