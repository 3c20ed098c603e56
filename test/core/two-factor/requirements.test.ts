import fc from 'fast-check'
import t from 'tap'
import {
  changeRequirement,
  requirementOf,
  type StoredRequirement
} from '../../../src/core/two-factor/requirements.ts'

const NOW = new Date('2026-06-15T12:00:00.000Z')
const BEFORE = new Date('2026-06-10T12:00:00.000Z')

const NOTHING: StoredRequirement = {
  requiredBy: null,
  requiredSince: null,
  resetPendingSince: null
}
const OWN: StoredRequirement = { ...NOTHING, requiredBy: 'self', requiredSince: BEFORE }
const BY_ADMIN: StoredRequirement = { ...NOTHING, requiredBy: 'admin', requiredSince: BEFORE }
const pending = (stored: StoredRequirement) => ({ ...stored, resetPendingSince: NOW })

t.test(
  'a pending reset is shown until the first authenticator, then the earlier requirement',
  async (t) => {
    t.equal(requirementOf(NOTHING, false), null)
    t.same(requirementOf(OWN, false), { by: 'self', since: BEFORE })
    t.same(requirementOf(BY_ADMIN, true), { by: 'admin', since: BEFORE })
    t.same(requirementOf(pending(BY_ADMIN), false), { by: 'reset', since: NOW })
    t.same(requirementOf(pending(BY_ADMIN), true), { by: 'admin', since: BEFORE })
    t.equal(requirementOf(pending(NOTHING), true), null, 'an earlier release has left the date')
  }
)

t.test('users change only their own requirement, and admins change each', async (t) => {
  const asked = (as: 'self' | 'admin', required: boolean) => (stored: StoredRequirement) =>
    changeRequirement(stored, false, { as, required, now: NOW })
  const withdrawn = { requiredBy: null, requiredSince: null }
  const refused = 'policy-requires-authenticator'
  t.same([NOTHING, OWN, BY_ADMIN, pending(NOTHING)].map(asked('self', true)), [
    { requiredBy: 'self', requiredSince: NOW },
    'unchanged',
    'unchanged',
    { requiredBy: 'self', requiredSince: NOW }
  ])
  t.same([NOTHING, OWN, BY_ADMIN].map(asked('admin', true)), [
    { requiredBy: 'admin', requiredSince: NOW },
    { requiredBy: 'admin', requiredSince: NOW },
    'unchanged'
  ])
  t.same([NOTHING, OWN, BY_ADMIN, pending(NOTHING), pending(OWN)].map(asked('self', false)), [
    'unchanged',
    withdrawn,
    refused,
    refused,
    refused
  ])
  t.same([NOTHING, OWN, BY_ADMIN, pending(NOTHING), pending(OWN)].map(asked('admin', false)), [
    'unchanged',
    withdrawn,
    withdrawn,
    'unchanged',
    withdrawn
  ])
})

t.test(
  'property: a change that is repeated is unchanged, and never touches a pending reset',
  async (t) => {
    const stored = fc.constantFrom(
      NOTHING,
      OWN,
      BY_ADMIN,
      pending(NOTHING),
      pending(OWN),
      pending(BY_ADMIN)
    )
    const request = fc.record({
      as: fc.constantFrom('self' as const, 'admin' as const),
      required: fc.boolean()
    })
    fc.assert(
      fc.property(stored, fc.boolean(), request, (before, hasAuthenticator, asked) => {
        const change = changeRequirement(before, hasAuthenticator, { ...asked, now: NOW })
        if (typeof change === 'string') return true
        const after = { ...before, ...change }
        const again = changeRequirement(after, hasAuthenticator, { ...asked, now: NOW })
        // A pending reset can be shown after the withdrawal, which then can't be repeated.
        const isRepeated =
          again === 'unchanged' || requirementOf(after, hasAuthenticator)?.by === 'reset'
        return isRepeated && after.resetPendingSince === before.resetPendingSince
      })
    )
    t.pass()
  }
)
