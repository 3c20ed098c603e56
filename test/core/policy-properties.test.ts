// Properties of the decision, for every combination of demands, user and first step.
import fc from 'fast-check'
import t from 'tap'
import {
  type DecisionInput,
  decide,
  enforcedFromFor,
  isTwoFactorRequiredOf
} from '../../src/core/policy.ts'

const DAY_MS = 86_400_000
const NOW = new Date('2026-06-15T12:00:00.000Z')
const days = (count: number) => new Date(NOW.getTime() + count * DAY_MS)

const onceRequired = {
  twoFactor: 'required',
  appliesTo: 'everyone',
  requiredFrom: null,
  requiredSince: null,
  graceDays: 0
} as const

t.test('property: a stricter policy never requires less', async (t) => {
  const rank = { authenticated: 0, enrollment_required: 1, verification_required: 1 }
  fc.assert(
    fc.property(input(), (given) => {
      const strict = { ...given, policy: { ...given.policy, ...onceRequired } }
      const policy = { ...given.policy, twoFactor: 'optional' as const }
      const optional = { ...given, policy }
      const user = { ...given.user, requirement: null }
      const asked = (one: DecisionInput) => rank[decide(one).outcome]
      return (
        asked(strict) >= asked(given) && asked(given) >= asked({ ...optional, user, mandate: null })
      )
    })
  )
  t.pass()
})

t.test(
  'property: a password never passes a requirement of the user without two-factor',
  async (t) => {
    fc.assert(
      fc.property(input(), (given) => {
        if (!given.user.requirement || given.arrival === 'sso') return true
        const { outcome, reason } = decide(given)
        if (reason === 'trusted_device') {
          return given.user.hasAuthenticator
        }
        return (
          outcome ===
          (given.user.hasAuthenticator ? 'verification_required' : 'enrollment_required')
        )
      })
    )
    t.pass()
  }
)

t.test('property: a policy for admins decides for members as an optional one', async (t) => {
  fc.assert(
    fc.property(input(), (given) => {
      const forAdmins = { ...given.policy, appliesTo: 'admins' as const }
      const asMember = {
        ...given,
        policy: forAdmins,
        user: { ...given.user, role: 'member' as const }
      }
      const asAdmin = {
        ...given,
        policy: forAdmins,
        user: { ...given.user, role: 'admin' as const }
      }
      const optional = { ...forAdmins, twoFactor: 'optional' as const }
      const everyone = { ...forAdmins, appliesTo: 'everyone' as const }
      const same = (one: DecisionInput, other: DecisionInput) =>
        JSON.stringify(decide(one)) === JSON.stringify(decide(other)) &&
        isTwoFactorRequiredOf(one.user, one, one.now) ===
          isTwoFactorRequiredOf(other.user, other, other.now) &&
        Number(enforcedFromFor(one.user, one)) === Number(enforcedFromFor(other.user, other))
      return (
        same(asMember, { ...asMember, policy: optional }) &&
        same(asAdmin, { ...asAdmin, policy: everyone })
      )
    })
  )
  t.pass()
})

t.test(
  'property: a requirement of a user adds nothing under a mandate or a policy in force',
  async (t) => {
    fc.assert(
      fc.property(input(), (given) => {
        const { outcome, reason } = decide({ ...given, hasTrustedDevice: false })
        if (reason !== 'mandated' && reason !== 'account_required') return true
        const user = { ...given.user, requirement: null }
        const without = decide({ ...given, user, hasTrustedDevice: false })
        return without.outcome === outcome && without.reason === reason
      })
    )
    t.pass()
  }
)

t.test(
  'property: if two-factor is required, only single sign-on, a trusted device or a grace period replaces it',
  async (t) => {
    fc.assert(
      fc.property(input(), (given) => {
        const decision = decide(given)
        if (
          decision.outcome !== 'authenticated' ||
          !isTwoFactorRequiredOf(given.user, given, given.now)
        )
          return true
        const { hasAuthenticator } = given.user
        const isByDevice = given.hasTrustedDevice && given.policy.trustedDevices.allowed
        switch (decision.reason) {
          case 'sso_supersedes':
            return given.arrival === 'sso'
          case 'trusted_device':
            return hasAuthenticator && isByDevice
          case 'grace_period':
            return (
              !hasAuthenticator && Number(enforcedFromFor(given.user, given)) > Number(given.now)
            )
          case 'not_required':
            return false
        }
      })
    )
    t.pass()
  }
)

function instant() {
  return fc.integer({ min: -40, max: 40 }).map(days)
}

function input(): fc.Arbitrary<DecisionInput> {
  const maybe = <Value>(value: fc.Arbitrary<Value>) => fc.option(value, { nil: null })
  return fc.record({
    mandate: maybe(
      fc.record({
        requiredFrom: instant(),
        reason: fc.constant(null),
        source: fc.constant('account' as const)
      })
    ),
    policy: fc.record({
      twoFactor: fc.constantFrom('optional' as const, 'required' as const),
      appliesTo: fc.constantFrom('everyone' as const, 'admins' as const),
      requiredFrom: maybe(instant()),
      requiredSince: maybe(instant()),
      graceDays: fc.integer({ min: 0, max: 30 }),
      trustedDevices: fc.record({ allowed: fc.boolean(), days: fc.constant(30) }),
      sso: fc.constant({
        mode: 'off' as const,
        issuer: null,
        clientId: null,
        trustEmail: false,
        since: null
      })
    }),
    user: fc.record({
      role: fc.constantFrom('member' as const, 'admin' as const),
      hasAuthenticator: fc.boolean(),
      requirement: maybe(
        fc.record({
          by: fc.constantFrom('reset' as const, 'self' as const, 'admin' as const),
          since: fc.integer({ min: -80, max: -41 }).map(days)
        })
      )
    }),
    arrival: fc.constantFrom('password' as const, 'sso' as const),
    hasTrustedDevice: fc.boolean(),
    now: instant()
  })
}
