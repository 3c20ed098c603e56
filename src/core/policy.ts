// The decision: what a sign-in must do next, and why. The order of precedence is part of the contract: verified single
// sign-on, then the operator's mandate, then the account's policy, then the requirement of this user, then the user's own
// authenticator.
import type { Role } from './claims.ts'
import { isRepresentable } from './instants.ts'
import type { UserRequirement } from './two-factor/requirements.ts'

type TwoFactorPolicy = 'optional' | 'required'
export type SsoMode = 'off' | 'optional' | 'required'

/** What an account requires of its users. */
export interface AccountPolicy {
  twoFactor: TwoFactorPolicy
  /** Whom `twoFactor` binds. A mandate binds everyone. */
  appliesTo: 'everyone' | 'admins'
  /** When the requirement starts; null: at `requiredSince`. */
  requiredFrom: Date | null
  /** When `required` was chosen; null while the policy is optional. It is the start if `requiredFrom` is null. */
  requiredSince: Date | null
  /** Grace period in days from the start: users may still sign in without two-factor. */
  graceDays: number
  trustedDevices: { allowed: boolean; days: number }
  sso: SingleSignOn
}

/** How an account's users sign in at its identity provider. */
export interface SingleSignOn {
  mode: SsoMode
  issuer: string | null
  clientId: string | null
  /** Whether e-mail addresses of the provider count as verified although it does not say so. */
  trustEmail: boolean
  /**
   * Since when the provider can link users under these settings. Null if that was before the service stored it, or if no
   * provider was ever set.
   */
  since: Date | null
}

/** What the operator requires of an account. The time before its date is its grace period. */
export interface Mandate {
  requiredFrom: Date
  reason: string | null
  /** Whether the mandate is for this account or for every account of the deployment. */
  source: 'account' | 'deployment'
}

/** How the user came in. `sso` means verified single sign-on only. */
export type Arrival = 'password' | 'sso'

export interface Demands {
  mandate: Mandate | null
  policy: AccountPolicy
}

/** The facts about a user on which requirements depend. */
export interface BoundUser {
  role: Role
  /** The requirement that binds this user alone; null for none. */
  requirement: UserRequirement | null
}

export interface DecisionInput extends Demands {
  user: BoundUser & { hasAuthenticator: boolean }
  arrival: Arrival
  /** The browser or phone sent the token of a device that the user trusts. */
  hasTrustedDevice: boolean
  now: Date
}

export type Decision =
  | { outcome: 'authenticated'; reason: 'not_required'; recommended: Recommendation | null }
  | { outcome: 'authenticated'; reason: 'grace_period'; recommended: Recommendation }
  | { outcome: 'authenticated'; reason: 'sso_supersedes' | 'trusted_device'; recommended: null }
  | {
      outcome: 'verification_required'
      reason: EnforcedReason | 'user_enabled'
    }
  | { outcome: 'enrollment_required'; reason: EnforcedReason }

type EnforcedReason = 'mandated' | 'account_required' | 'reset_pending' | 'user_required'

/** A set-up that is optional now and becomes necessary at this instant. */
interface Recommendation {
  requiredFrom: Date
}

const DAY_MS = 86_400_000

/** Decides what follows a successful first step. The function is total and pure: every input has one outcome and reason. */
export function decide(input: DecisionInput): Decision {
  const { arrival, user, policy, hasTrustedDevice, now } = input
  if (arrival === 'sso') {
    return { outcome: 'authenticated', reason: 'sso_supersedes', recommended: null }
  }
  const demands = { ...demandsOn(user.role, input), now }
  const reason = enforcedBy(demands) ?? enforcedOf(user)
  // The user's own authenticator is used even if nothing requires it: the user relies on that protection.
  if (user.hasAuthenticator) {
    if (hasTrustedDevice && policy.trustedDevices.allowed) {
      return { outcome: 'authenticated', reason: 'trusted_device', recommended: null }
    }
    return { outcome: 'verification_required', reason: reason ?? 'user_enabled' }
  }
  if (reason) return { outcome: 'enrollment_required', reason }
  return withoutSetUp(demands)
}

/** Returns the demands as they bind users of a role: without the account's requirement if it is for admins only. */
export function demandsOn(role: Role, { mandate, policy }: Demands): Demands {
  const isBound = policy.appliesTo === 'everyone' || role === 'admin'
  return { mandate, policy: isBound ? policy : { ...policy, twoFactor: 'optional' } }
}

function enforcedOf({ requirement }: BoundUser): 'reset_pending' | 'user_required' | null {
  if (!requirement) return null
  return requirement.by === 'reset' ? 'reset_pending' : 'user_required'
}

/** Lets the user in without two-factor, and says from when on it will be required, if it will. */
function withoutSetUp(demands: Demands & { now: Date }): Decision {
  const requiredFrom = enforcedFrom(demands)
  const recommended = requiredFrom && { requiredFrom }
  if (recommended && isInGrace(demands)) {
    return { outcome: 'authenticated', reason: 'grace_period', recommended }
  }
  return { outcome: 'authenticated', reason: 'not_required', recommended }
}

/** Returns which requirement is enforced now; null if none is. The mandate takes precedence over the account. */
function enforcedBy({
  mandate,
  policy,
  now
}: Demands & { now: Date }): 'mandated' | 'account_required' | null {
  if (mandate && mandate.requiredFrom <= now) return 'mandated'
  return isAccountEnforcing(policy, now) ? 'account_required' : null
}

/** Returns when this user must set up an authenticator, by the earliest requirement; null for never. */
export function enforcedFromFor(user: BoundUser, demands: Demands): Date | null {
  return earliest(enforcedFrom(demandsOn(user.role, demands)), user.requirement?.since ?? null)
}

/** Returns when users whom the demands bind must set up an authenticator, by the earlier demand; null for never. */
export function enforcedFrom({ mandate, policy }: Demands): Date | null {
  return earliest(mandate?.requiredFrom ?? null, accountEnforcesFrom(policy))
}

function earliest(...dates: (Date | null)[]): Date | null {
  const [first] = dates.filter((date) => date !== null).sort((one, other) => +one - +other)
  return first ?? null
}

/** A mandate's grace period is the time before its date. An account's grace period starts at its date. */
function isInGrace({ mandate, policy, now }: Demands & { now: Date }): boolean {
  return mandate !== null || isAccountRequiring(policy, now)
}

/**
 * Returns whether the account's requirement has started. Without a date it has: "immediately" is a state and not the
 * instant `requiredSince`, which another replica wrote by its own clock, and which can be later than this replica's now.
 */
function isAccountRequiring({ twoFactor, requiredFrom }: AccountPolicy, now: Date): boolean {
  return twoFactor === 'required' && (requiredFrom === null || requiredFrom <= now)
}

/** Returns whether the requirement has started and its grace period is over. A grace period of no days never delays it. */
function isAccountEnforcing(policy: AccountPolicy, now: Date): boolean {
  if (!isAccountRequiring(policy, now)) return false
  const from = accountEnforcesFrom(policy)
  return policy.graceDays === 0 || (from !== null && from <= now)
}

/** Returns when the account's requirement starts; null if it has none. Without any date it has always applied. */
function accountRequiresFrom({ twoFactor, requiredFrom, requiredSince }: AccountPolicy) {
  return twoFactor === 'required' ? (requiredFrom ?? requiredSince ?? new Date(0)) : null
}

function accountEnforcesFrom(policy: AccountPolicy): Date | null {
  const from = accountRequiresFrom(policy)
  return from && new Date(from.getTime() + policy.graceDays * DAY_MS)
}

/** Returns whether two-factor is required of this user, by policy, mandate, or a requirement of the user alone. */
export function isTwoFactorRequiredOf(user: BoundUser, demands: Demands, now: Date): boolean {
  return user.requirement !== null || isTwoFactorRequired({ ...demandsOn(user.role, demands), now })
}

/**
 * Returns whether two-factor is required of the users, so that they cannot turn it off. A grace period only lets users
 * sign in who have not set it up yet.
 */
export function isTwoFactorRequired({ mandate, policy, now }: Demands & { now: Date }): boolean {
  if (mandate && mandate.requiredFrom <= now) return true
  return isAccountRequiring(policy, now)
}

/** Returns whether the operator's mandate is in force, which locks the account's own switch. */
export function isPolicyLocked({ mandate, now }: { mandate: Mandate | null; now: Date }): boolean {
  return mandate !== null && mandate.requiredFrom <= now
}

/** Returns the mandate that is enforced first; the account's own if both start at the same time. */
export function bindingMandate(
  ofAccount: Pick<Mandate, 'requiredFrom' | 'reason'> | null,
  ofDeployment: Pick<Mandate, 'requiredFrom' | 'reason'> | null
): Mandate | null {
  if (ofAccount && (!ofDeployment || ofAccount.requiredFrom <= ofDeployment.requiredFrom)) {
    return { ...ofAccount, source: 'account' }
  }
  return ofDeployment && { ...ofDeployment, source: 'deployment' }
}

/** A merge patch (RFC 7396) of a policy: absent members stay as they are. */
export interface PolicyPatch {
  twoFactor?: TwoFactorPolicy
  appliesTo?: AccountPolicy['appliesTo']
  requiredFrom?: Date | null
  graceDays?: number
  trustedDevices?: { allowed?: boolean; days?: number }
  sso?: Partial<Omit<SingleSignOn, 'since'>>
}

/** Returns the policy after a patch that is applied at this instant. */
export function patchedPolicy(
  { trustedDevices, sso, ...policy }: AccountPolicy,
  patch: PolicyPatch,
  now: Date
): AccountPolicy {
  const patched = {
    ...policy,
    ...patch,
    trustedDevices: { ...trustedDevices, ...patch.trustedDevices },
    sso: patchedSso(sso, patch.sso ?? {}, now)
  }
  const requiredSince = policy.twoFactor === 'required' ? policy.requiredSince : now
  return { ...patched, requiredSince: patched.twoFactor === 'required' ? requiredSince : null }
}

function patchedSso(
  before: SingleSignOn,
  patch: NonNullable<PolicyPatch['sso']>,
  now: Date
): SingleSignOn {
  const after = { ...before, ...patch }
  const isOpener =
    after.issuer !== before.issuer ||
    after.clientId !== before.clientId ||
    (before.mode === 'off' && after.mode !== 'off') ||
    (!before.trustEmail && after.trustEmail)
  return isOpener ? { ...after, since: now } : after
}

/** Returns the member that is missing for single sign-on; null if the policy is complete. */
export function missingForSso({ sso }: AccountPolicy): 'issuer' | 'clientId' | null {
  if (sso.mode === 'off') return null
  if (sso.issuer === null) return 'issuer'
  return sso.clientId === null ? 'clientId' : null
}

/** Returns whether RFC 3339 can express the end of the grace period, so that a response to a user can contain it. */
export function isGraceWritable(policy: AccountPolicy): boolean {
  const end = accountEnforcesFrom(policy)
  return end === null || isRepresentable(end)
}

/** Returns whether devices that were trusted under one policy stay trusted under the other. */
export function isDeviceTrustKept(before: AccountPolicy, after: AccountPolicy): boolean {
  return (
    before.twoFactor === after.twoFactor &&
    before.appliesTo === after.appliesTo &&
    before.sso.mode === after.sso.mode &&
    before.trustedDevices.allowed === after.trustedDevices.allowed &&
    before.trustedDevices.days === after.trustedDevices.days
  )
}
