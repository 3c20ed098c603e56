// Properties of the end of a session, for every first factor, policy and instant.
import fc from 'fast-check'
import t from 'tap'
import type { FirstFactor } from '../../src/core/claims.ts'
import { policyEnd, sessionEnd } from '../../src/core/sessions.ts'

const AT = new Date('2026-06-15T12:00:00.000Z')
const ISSUERS = ['https://one.example', 'https://two.example'] as const
const MAX_SECONDS = 43_200
const after = (ms: number) => new Date(AT.getTime() + ms)
const limit = (ms: number) => ({ maxSeconds: MAX_SECONDS, now: after(ms) })

const firstFactor = fc.oneof(
  fc.constant<FirstFactor>({ kind: 'password', at: AT, issuer: null }),
  fc.constantFrom(...ISSUERS).map((issuer): FirstFactor => ({ kind: 'sso', at: AT, issuer }))
)
const accepted = fc.record({
  mode: fc.constantFrom('off' as const, 'optional' as const, 'required' as const),
  issuer: fc.constantFrom(...ISSUERS, null)
})
const elapsed = fc.integer({ min: -3_600_000, max: 2 * MAX_SECONDS * 1000 })

t.test(
  'property: a session ends by its age or by the policy, and for no other reason',
  async (t) => {
    fc.assert(
      fc.property(firstFactor, accepted, elapsed, (first, sso, ms) => {
        const isAccepted =
          first.kind === 'password'
            ? sso.mode !== 'required'
            : sso.mode !== 'off' && sso.issuer === first.issuer
        const isYoung = ms <= MAX_SECONDS * 1000
        return (sessionEnd(first, sso, limit(ms)) === null) === (isAccepted && isYoung)
      })
    )
    t.pass()
  }
)

t.test('property: time never extends a session that has ended', async (t) => {
  fc.assert(
    fc.property(firstFactor, accepted, elapsed, fc.nat(), (first, sso, ms, more) => {
      const [end, later] = [ms, ms + more].map((at) => sessionEnd(first, sso, limit(at)))
      return end === null || later !== null
    })
  )
  t.pass()
})

t.test('a session without a first factor has ended', async (t) => {
  t.equal(sessionEnd(null, { mode: 'off', issuer: null }, limit(0)), 'too_old')
})

t.test('the reasons of the policy', async (t) => {
  const [issuer, other] = ISSUERS
  const password = { kind: 'password', at: AT, issuer: null } as const
  const sso = { kind: 'sso', at: AT, issuer } as const
  t.equal(policyEnd(password, { mode: 'required', issuer }), 'sso_required')
  t.equal(policyEnd(password, { mode: 'optional', issuer }), null)
  t.equal(policyEnd(sso, { mode: 'off', issuer }), 'provider_changed')
  t.equal(policyEnd(sso, { mode: 'required', issuer: other }), 'provider_changed')
  t.equal(policyEnd(sso, { mode: 'required', issuer }), null)
})
