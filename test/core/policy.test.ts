import { readFile } from 'node:fs/promises'
import t from 'tap'
import {
  type AccountPolicy,
  bindingMandate,
  type Decision,
  type DecisionInput,
  decide,
  enforcedFromFor,
  isDeviceTrustKept,
  isPolicyLocked,
  isTwoFactorRequired,
  isTwoFactorRequiredOf,
  missingForSso,
  patchedPolicy
} from '../../src/core/policy.ts'
import { needsLinkCode } from '../../src/core/sso/providers.ts'
import { cases, policyTable } from '../../src/tools/policy-table/table.ts'

const DAY_MS = 86_400_000
const NOW = new Date('2026-06-15T12:00:00.000Z')
const days = (count: number) => new Date(NOW.getTime() + count * DAY_MS)

const OPTIONAL: AccountPolicy = {
  twoFactor: 'optional',
  appliesTo: 'everyone',
  requiredFrom: null,
  requiredSince: null,
  graceDays: 0,
  trustedDevices: { allowed: false, days: 30 },
  sso: { mode: 'off', issuer: null, clientId: null, trustEmail: false, since: null }
}
const REQUIRED = { ...OPTIONAL, twoFactor: 'required', requiredSince: NOW } as const

/** Users of whom nothing is required alone. */
const MEMBER = { role: 'member', requirement: null } as const
const ADMIN = { role: 'admin', requirement: null } as const
const RESET = { by: 'reset', since: days(-1) } as const
const OWN = { by: 'self', since: days(-1) } as const

const decided = (input: Partial<DecisionInput>) =>
  decide({
    mandate: null,
    policy: OPTIONAL,
    user: { ...MEMBER, hasAuthenticator: false },
    arrival: 'password',
    hasTrustedDevice: false,
    now: NOW,
    ...input
  })

/** Returns the expected decision in words. It states the contract a second time, independently of the code. */
function expected([mandate, account, user, came]: string[]): string {
  if (came === 'single sign-on') return 'authenticated sso_supersedes'
  const ofUser = /after a reset/.test(`${user}`)
    ? 'reset_pending'
    : /this user must have one/.test(`${user}`)
      ? 'user_required'
      : null
  const ofAccount = account === 'required' ? 'account_required' : ofUser
  const requirement = mandate === 'in force' ? 'mandated' : ofAccount
  if (user?.startsWith('active')) {
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
  t.equal(all.length, 3 * 4 * 5 * 3)
  t.equal(new Set(all.map(({ names }) => names.join())).size, all.length)
  for (const { names, decision } of all) {
    t.equal(inWords(decision), expected(names), names.join(', '))
  }
})

t.test('the table in docs/policy.md is generated from the decisions', async (t) => {
  const page = await readFile(new URL('../../docs/policy.md', import.meta.url), 'utf8')
  t.ok(page.includes(policyTable()), 'npm run policy-table')
})

t.test(
  'a pending reset leads to the set-up, also on a trusted device and in a grace period',
  async (t) => {
    const trusted = { ...OPTIONAL, trustedDevices: { allowed: true, days: 30 } }
    const inGrace = { ...REQUIRED, graceDays: 7, trustedDevices: trusted.trustedDevices }
    const user = { ...MEMBER, requirement: RESET, hasAuthenticator: false }
    for (const policy of [OPTIONAL, trusted, inGrace]) {
      const decision = decided({ policy, user, hasTrustedDevice: true })
      t.equal(inWords(decision), 'enrollment_required reset_pending')
    }
    t.equal(
      decided({ policy: REQUIRED, user }).reason,
      'account_required',
      'the account comes first'
    )
    t.equal(decided({ user, arrival: 'sso' }).reason, 'sso_supersedes')
  }
)

t.test('a requirement of the user alone binds as one of the policy does', async (t) => {
  const optional = { policy: OPTIONAL, mandate: null }
  const later = { policy: { ...REQUIRED, requiredFrom: days(2) }, mandate: null }
  t.equal(isTwoFactorRequiredOf(MEMBER, optional, NOW), false)
  for (const requirement of [RESET, OWN]) {
    t.equal(isTwoFactorRequiredOf({ ...MEMBER, requirement }, optional, NOW), true)
    t.same(enforcedFromFor({ ...MEMBER, requirement }, later), days(-1))
  }
  t.same(enforcedFromFor(MEMBER, later), days(2))
  t.same(enforcedFromFor(MEMBER, optional), null)
})

t.test('a policy for admins binds only admins, and a mandate binds everyone', async (t) => {
  const policy = { ...REQUIRED, appliesTo: 'admins' } as const
  const mandate = { requiredFrom: days(-1), reason: null, source: 'account' } as const
  const without = { hasAuthenticator: false }
  t.equal(
    inWords(decided({ policy, user: { ...ADMIN, ...without } })),
    'enrollment_required account_required'
  )
  t.equal(
    inWords(decided({ policy, user: { ...MEMBER, ...without } })),
    'authenticated not_required'
  )
  const mandated = decided({ policy, mandate, user: { ...MEMBER, ...without } })
  t.equal(inWords(mandated), 'enrollment_required mandated')
})

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

t.test('a requirement without a date applies immediately, whatever clock wrote it', async (t) => {
  const byFastClock = { ...REQUIRED, requiredSince: days(1) }
  t.equal(isTwoFactorRequired({ policy: byFastClock, mandate: null, now: NOW }), true)
  t.equal(inWords(decided({ policy: byFastClock })), 'enrollment_required account_required')
  const inGrace = { ...byFastClock, graceDays: 3 }
  t.equal(inWords(decided({ policy: inGrace })), 'authenticated grace_period recommended')
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
    const user = { ...MEMBER, hasAuthenticator: true }
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
  const from = (requiredFrom: Date) => ({ requiredFrom, reason: 'Law' })
  const ofAll = (requiredFrom: Date) => ({ ...from(requiredFrom), source: 'deployment' }) as const
  t.same(bindingMandate(null, null), null)
  t.same(bindingMandate(ofAccount, null), own)
  t.same(bindingMandate(null, from(days(2))), ofAll(days(2)))
  t.same(bindingMandate(ofAccount, from(days(2))), own)
  t.same(bindingMandate(ofAccount, from(days(1))), own, 'at the same date, the one of the account')
  t.same(bindingMandate(ofAccount, from(NOW)), ofAll(NOW))
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
  const bySignIn = (since: Date | null, now: Date) =>
    needsLinkCode({ since }, { isLinkedByBackEnd: false, now })
  t.equal(bySignIn(null, NOW), false)
  t.equal(bySignIn(NOW, new Date(+days(1) - 1)), true)
  t.equal(bySignIn(NOW, days(1)), false)
  t.equal(needsLinkCode({ since: null }, { isLinkedByBackEnd: true, now: NOW }), true)
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
  t.equal(isDeviceTrustKept(allowed, { ...allowed, appliesTo: 'admins' }), false)
  t.equal(isDeviceTrustKept(allowed, { ...allowed, twoFactor: 'required' }), false)
  t.equal(
    isDeviceTrustKept(allowed, { ...allowed, trustedDevices: { allowed: true, days: 7 } }),
    false
  )
})
