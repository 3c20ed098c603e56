import { readFile } from 'node:fs/promises'
import fc from 'fast-check'
import t from 'tap'
import {
  type AccountPolicy,
  bindingMandate,
  type Decision,
  type DecisionInput,
  decide,
  enforcedFrom,
  isDeviceTrustKept,
  isPolicyLocked,
  isProviderNew,
  isTwoFactorRequired,
  missingForSso,
  patchedPolicy
} from '../../src/core/policy.ts'
import { cases, policyTable } from '../../src/tools/policy-table/table.ts'

const DAY_MS = 86_400_000
const NOW = new Date('2026-06-15T12:00:00.000Z')
const days = (count: number) => new Date(NOW.getTime() + count * DAY_MS)

const OPTIONAL: AccountPolicy = {
  twoFactor: 'optional',
  requiredFrom: null,
  requiredSince: null,
  graceDays: 0,
  trustedDevices: { allowed: false, days: 30 },
  sso: { mode: 'off', issuer: null, clientId: null, trustEmail: false, since: null }
}
const REQUIRED = { ...OPTIONAL, twoFactor: 'required', requiredSince: NOW } as const

const decided = (input: Partial<DecisionInput>) =>
  decide({
    mandate: null,
    policy: OPTIONAL,
    user: { hasAuthenticator: false },
    arrival: 'password',
    hasTrustedDevice: false,
    now: NOW,
    ...input
  })

/** Returns the expected decision in words. It states the contract a second time, independently of the code. */
function expected([mandate, account, authenticator, came]: string[]): string {
  if (came === 'single sign-on') return 'authenticated sso_supersedes'
  const requirement =
    mandate === 'in force' ? 'mandated' : account === 'required' ? 'account_required' : null
  if (authenticator === 'active') {
    if (came === 'password on a trusted device') return 'authenticated trusted_device'
    return `verification_required ${requirement ?? 'user_enabled'}`
  }
  if (requirement) return `enrollment_required ${requirement}`
  const isGrace = mandate === 'from a future date' || account === 'required, in the grace period'
  if (isGrace) return 'authenticated grace_period recommended'
  const isComing = account === 'required from a future date'
  return `authenticated not_required${isComing ? ' recommended' : ''}`
}

const inWords = (decision: Decision) =>
  [
    decision.outcome,
    decision.reason,
    'recommended' in decision && decision.recommended ? 'recommended' : ''
  ]
    .filter(Boolean)
    .join(' ')

t.test('every combination has one outcome and one reason', async (t) => {
  const all = cases()
  t.equal(all.length, 3 * 4 * 2 * 3)
  t.equal(new Set(all.map(({ names }) => names.join())).size, all.length)
  for (const { names, decision } of all) {
    t.equal(inWords(decision), expected(names), names.join(', '))
  }
})

t.test('the table in docs/policy.md is generated from the decisions', async (t) => {
  const page = await readFile(new URL('../../docs/policy.md', import.meta.url), 'utf8')
  t.ok(page.includes(policyTable()), 'npm run policy-table')
})

t.test('property: a stricter policy never requires less', async (t) => {
  const rank = { authenticated: 0, enrollment_required: 1, verification_required: 1 }
  fc.assert(
    fc.property(input(), (given) => {
      const strict = { ...given, policy: { ...given.policy, ...onceRequired } }
      const policy = { ...given.policy, twoFactor: 'optional' as const }
      const optional = { ...given, policy }
      const asked = (one: DecisionInput) => rank[decide(one).outcome]
      return asked(strict) >= asked(given) && asked(given) >= asked({ ...optional, mandate: null })
    })
  )
  t.pass()
})

const onceRequired = {
  twoFactor: 'required',
  requiredFrom: null,
  requiredSince: null,
  graceDays: 0
} as const

t.test(
  'property: if two-factor is required, only single sign-on, a trusted device or a grace period replaces it',
  async (t) => {
    fc.assert(
      fc.property(input(), (given) => {
        const decision = decide(given)
        if (decision.outcome !== 'authenticated' || !isTwoFactorRequired(given)) return true
        const { hasAuthenticator } = given.user
        const isByDevice = given.hasTrustedDevice && given.policy.trustedDevices.allowed
        switch (decision.reason) {
          case 'sso_supersedes':
            return given.arrival === 'sso'
          case 'trusted_device':
            return hasAuthenticator && isByDevice
          case 'grace_period':
            return !hasAuthenticator && Number(enforcedFrom(given)) > Number(given.now)
          case 'not_required':
            return false
        }
      })
    )
    t.pass()
  }
)

t.test('a requirement starts at its exact instant, and so ends its grace period', async (t) => {
  const policy = { ...REQUIRED, requiredFrom: days(1), graceDays: 2 }
  const at = (now: Date) => inWords(decided({ policy, now }))
  const before = (date: Date) => new Date(date.getTime() - 1)
  t.equal(at(before(days(1))), 'authenticated not_required recommended')
  t.equal(at(days(1)), 'authenticated grace_period recommended')
  t.equal(at(before(days(3))), 'authenticated grace_period recommended')
  t.equal(at(days(3)), 'enrollment_required account_required')
  t.same(decided({ policy }), {
    outcome: 'authenticated',
    reason: 'not_required',
    recommended: { requiredFrom: days(3) }
  })
  const mandate = { requiredFrom: days(1), reason: null, source: 'account' } as const
  t.equal(
    inWords(decided({ mandate, now: before(days(1)) })),
    'authenticated grace_period recommended'
  )
  t.equal(inWords(decided({ mandate, now: days(1) })), 'enrollment_required mandated')
})

t.test(
  'during the grace period, users may sign in without two-factor but not turn it off',
  async (t) => {
    const inGrace = { ...REQUIRED, graceDays: 7 }
    t.equal(isTwoFactorRequired({ policy: inGrace, mandate: null, now: NOW }), true)
    const later = { ...REQUIRED, requiredFrom: days(1) }
    t.equal(isTwoFactorRequired({ policy: later, mandate: null, now: NOW }), false)
    t.equal(isTwoFactorRequired({ policy: later, mandate: null, now: days(1) }), true)
    t.equal(isTwoFactorRequired({ policy: OPTIONAL, mandate: null, now: days(9999) }), false)
  }
)

t.test(
  'a trusted device counts only if the account allows it, and never replaces the set-up',
  async (t) => {
    const user = { hasAuthenticator: true }
    const allowed = { ...REQUIRED, trustedDevices: { allowed: true, days: 30 } }
    const outcome = (input: Partial<DecisionInput>) =>
      decided({ hasTrustedDevice: true, ...input }).outcome
    t.equal(outcome({ policy: allowed, user }), 'authenticated')
    t.equal(outcome({ policy: REQUIRED, user }), 'verification_required')
    t.equal(outcome({ policy: allowed }), 'enrollment_required')
  }
)

t.test('of two mandates, the one that is enforced first applies', async (t) => {
  const ofAccount = { requiredFrom: days(1), reason: 'Contract' }
  const own = { ...ofAccount, source: 'account' } as const
  const ofAll = (requiredFrom: Date) =>
    ({ requiredFrom, reason: null, source: 'deployment' }) as const
  t.same(bindingMandate(null, null), null)
  t.same(bindingMandate(ofAccount, null), own)
  t.same(bindingMandate(null, days(2)), ofAll(days(2)))
  t.same(bindingMandate(ofAccount, days(2)), own)
  t.same(bindingMandate(ofAccount, days(1)), own, 'at the same date, the one of the account')
  t.same(bindingMandate(ofAccount, NOW), ofAll(NOW))
})

t.test('the account’s switch is locked from the mandate’s date on', async (t) => {
  const mandate = { requiredFrom: days(1), reason: null, source: 'account' } as const
  t.equal(isPolicyLocked({ mandate, now: NOW }), false)
  t.equal(isPolicyLocked({ mandate, now: days(1) }), true)
  t.equal(isPolicyLocked({ mandate: null, now: NOW }), false)
})

t.test('a provider is new for a day after each change that lets it link more users', async (t) => {
  const sso = { mode: 'optional', issuer: 'https://login.example.com', clientId: 'c' } as const
  const old = { ...OPTIONAL, sso: { ...OPTIONAL.sso, ...sso } }
  const sinceOf = (patch: object) => patchedPolicy(old, { sso: patch }, NOW).sso.since
  for (const opener of [
    { issuer: 'https://other.example' },
    { clientId: 'd' },
    { trustEmail: true }
  ]) {
    t.same(sinceOf(opener), NOW, JSON.stringify(opener))
  }
  for (const closer of [{ mode: 'off' }, { mode: 'required' }, sso, { trustEmail: false }]) {
    t.equal(sinceOf(closer), null, JSON.stringify(closer))
  }
  const off = { ...old, sso: { ...old.sso, mode: 'off' as const } }
  t.same(patchedPolicy(off, { sso: { mode: 'optional' } }, NOW).sso.since, NOW)
  t.equal(isProviderNew({ since: null }, NOW), false)
  t.equal(isProviderNew({ since: NOW }, new Date(+days(1) - 1)), true)
  t.equal(isProviderNew({ since: NOW }, days(1)), false)
})

t.test('a patch changes only the members that it contains', async (t) => {
  const patched = patchedPolicy(
    OPTIONAL,
    { twoFactor: 'required', trustedDevices: { days: 7 } },
    NOW
  )
  t.same(patched, { ...REQUIRED, trustedDevices: { allowed: false, days: 7 } })
  t.same(patchedPolicy(patched, {}, days(1)), patched, 'required since the first patch')
  t.same(patchedPolicy(patched, { twoFactor: 'required' }, days(1)), patched)
  const back = patchedPolicy(patched, { twoFactor: 'optional' }, days(1))
  t.same(back.requiredSince, null)
  t.same(patchedPolicy(back, { twoFactor: 'required' }, days(2)).requiredSince, days(2))
  const sso = { mode: 'optional', issuer: 'https://login.example.com' } as const
  t.same(patchedPolicy(OPTIONAL, { sso }, NOW).sso, { ...OPTIONAL.sso, ...sso, since: NOW })
})

t.test('single sign-on needs an issuer and a client id', async (t) => {
  const missing = (sso: Partial<AccountPolicy['sso']>) =>
    missingForSso({ ...OPTIONAL, sso: { ...OPTIONAL.sso, ...sso } })
  t.equal(missing({}), null)
  t.equal(missing({ mode: 'optional' }), 'issuer')
  t.equal(missing({ mode: 'required', issuer: 'https://login.example.com' }), 'clientId')
  t.equal(missing({ mode: 'required', issuer: 'https://a.example', clientId: 'x' }), null)
})

t.test('devices stay trusted only while the policy that trusted them stays the same', async (t) => {
  const allowed = { ...OPTIONAL, trustedDevices: { allowed: true, days: 30 } }
  t.equal(isDeviceTrustKept(allowed, { ...allowed, graceDays: 3 }), true)
  t.equal(isDeviceTrustKept(allowed, OPTIONAL), false)
  t.equal(isDeviceTrustKept(allowed, { ...allowed, twoFactor: 'required' }), false)
  t.equal(
    isDeviceTrustKept(allowed, { ...allowed, trustedDevices: { allowed: true, days: 7 } }),
    false
  )
})

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
      requiredFrom: maybe(instant()),
      requiredSince: maybe(instant()),
      graceDays: fc.integer({ min: 0, max: 30 }),
      trustedDevices: fc.record({ allowed: fc.boolean(), days: fc.constant(30) }),
      sso: fc.constant(OPTIONAL.sso)
    }),
    user: fc.record({ hasAuthenticator: fc.boolean() }),
    arrival: fc.constantFrom('password' as const, 'sso' as const),
    hasTrustedDevice: fc.boolean(),
    now: instant()
  })
}
