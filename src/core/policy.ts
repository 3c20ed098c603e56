// The decision: what one sign-in must do next, and why. The order of the questions is the product's promise: verified
// single sign-on, then the operator's mandate, then the account's demand, then what the user has chosen.

export type TwoFactorPolicy = 'optional' | 'required'
export type SsoMode = 'off' | 'optional' | 'required'

/** What an account asks of its users. */
export interface AccountPolicy {
  twoFactor: TwoFactorPolicy
  /** From when it asks; null: from `requiredSince` on. */
  requiredFrom: Date | null
  /** When `required` was chosen; null while it is not. What counts where no date is given. */
  requiredSince: Date | null
  /** How long after that nobody is held up for it. */
  graceDays: number
  trustedDevices: { allowed: boolean; days: number }
  sso: { mode: SsoMode; issuer: string | null; clientId: string | null }
}

/** What the operator asks of an account. Its grace is the time before its date. */
export interface Mandate {
  requiredFrom: Date
  reason: string | null
  /** Whom it was made for: this account, or every account of the deployment. */
  source: 'account' | 'deployment'
}

/** How somebody came in. Single sign-on only where it was verified. */
export type Arrival = 'password' | 'sso'

export interface Demands {
  mandate: Mandate | null
  policy: AccountPolicy
}

export interface DecisionInput extends Demands {
  user: { hasAuthenticator: boolean }
  arrival: Arrival
  /** The browser or phone has shown the token of a device that the user trusts. */
  hasTrustedDevice: boolean
  now: Date
}

export type Decision =
  | { outcome: 'authenticated'; reason: 'not_required'; recommended: Recommendation | null }
  | { outcome: 'authenticated'; reason: 'grace_period'; recommended: Recommendation }
  | { outcome: 'authenticated'; reason: 'sso_supersedes' | 'trusted_device'; recommended: null }
  | {
      outcome: 'verification_required'
      reason: 'mandated' | 'account_required' | 'user_enabled'
    }
  | { outcome: 'enrollment_required'; reason: 'mandated' | 'account_required' }

/** A set-up that nobody is held up for yet, but will be from then on. */
export interface Recommendation {
  requiredFrom: Date
}

const DAY_MS = 86_400_000
/** RFC 3339 has four digits for it. */
const LAST_YEAR = 9999

/** Decides what follows a right first step. Total and pure: every input has one outcome and one reason. */
export function decide(input: DecisionInput): Decision {
  const { arrival, user, policy, hasTrustedDevice } = input
  if (arrival === 'sso') {
    return { outcome: 'authenticated', reason: 'sso_supersedes', recommended: null }
  }
  // A user's own authenticator is asked for even where nothing demands it: its owner counts on that.
  if (user.hasAuthenticator) {
    if (hasTrustedDevice && policy.trustedDevices.allowed) {
      return { outcome: 'authenticated', reason: 'trusted_device', recommended: null }
    }
    return { outcome: 'verification_required', reason: enforcedBy(input) ?? 'user_enabled' }
  }
  const reason = enforcedBy(input)
  if (reason) return { outcome: 'enrollment_required', reason }
  return withoutSetUp(input)
}

/** Nobody is held up yet; whoever will be is told from when on. */
function withoutSetUp(demands: Demands & { now: Date }): Decision {
  const requiredFrom = enforcedFrom(demands)
  const recommended = requiredFrom && { requiredFrom }
  if (recommended && isInGrace(demands)) {
    return { outcome: 'authenticated', reason: 'grace_period', recommended }
  }
  return { outcome: 'authenticated', reason: 'not_required', recommended }
}

/** Whose demand holds everybody up now; null for nobody's. The mandate comes before the account. */
function enforcedBy({
  mandate,
  policy,
  now
}: Demands & { now: Date }): 'mandated' | 'account_required' | null {
  if (mandate && mandate.requiredFrom <= now) return 'mandated'
  const from = accountEnforcesFrom(policy)
  return from && from <= now ? 'account_required' : null
}

/** From when on whoever has no authenticator is held up, by whichever demand is first; null for never. */
export function enforcedFrom({ mandate, policy }: Demands): Date | null {
  const dates = [mandate?.requiredFrom ?? null, accountEnforcesFrom(policy)]
  const [first] = dates.filter((date) => date !== null).sort((one, other) => +one - +other)
  return first ?? null
}

/** A mandate's grace is the time before its date; an account's begins with its date. */
function isInGrace({ mandate, policy, now }: Demands & { now: Date }): boolean {
  const from = accountRequiresFrom(policy)
  return mandate !== null || (from !== null && from <= now)
}

/** The instant from which the account requires two-factor; null: it doesn't. Without any date it always has. */
function accountRequiresFrom({ twoFactor, requiredFrom, requiredSince }: AccountPolicy) {
  return twoFactor === 'required' ? (requiredFrom ?? requiredSince ?? new Date(0)) : null
}

function accountEnforcesFrom(policy: AccountPolicy): Date | null {
  const from = accountRequiresFrom(policy)
  return from && new Date(from.getTime() + policy.graceDays * DAY_MS)
}

/**
 * Whether users of this account may not go without a second factor: nobody turns it off any more. Grace only forgives
 * that it isn't on yet.
 */
export function isTwoFactorRequired({ mandate, policy, now }: Demands & { now: Date }): boolean {
  if (mandate && mandate.requiredFrom <= now) return true
  const from = accountRequiresFrom(policy)
  return from !== null && from <= now
}

/** Whether the operator's mandate holds already, so that the account's own switch is locked. */
export function isPolicyLocked({ mandate, now }: { mandate: Mandate | null; now: Date }): boolean {
  return mandate !== null && mandate.requiredFrom <= now
}

/** The mandate that binds an account: of the two, the one that bites first; the account's own where both do at once. */
export function bindingMandate(
  ofAccount: Pick<Mandate, 'requiredFrom' | 'reason'> | null,
  ofDeployment: Date | null
): Mandate | null {
  if (ofAccount && (!ofDeployment || ofAccount.requiredFrom <= ofDeployment)) {
    return { ...ofAccount, source: 'account' }
  }
  return ofDeployment && { requiredFrom: ofDeployment, reason: null, source: 'deployment' }
}

/** A merge patch (RFC 7396) of a policy: what is absent stays. */
export interface PolicyPatch {
  twoFactor?: TwoFactorPolicy
  requiredFrom?: Date | null
  graceDays?: number
  trustedDevices?: { allowed?: boolean; days?: number }
  sso?: { mode?: SsoMode; issuer?: string | null; clientId?: string | null }
}

/** The policy after a patch at an instant. */
export function patchedPolicy(
  { trustedDevices, sso, ...policy }: AccountPolicy,
  patch: PolicyPatch,
  now: Date
): AccountPolicy {
  const patched = {
    ...policy,
    ...patch,
    trustedDevices: { ...trustedDevices, ...patch.trustedDevices },
    sso: { ...sso, ...patch.sso }
  }
  const requiredSince = policy.twoFactor === 'required' ? policy.requiredSince : now
  return { ...patched, requiredSince: patched.twoFactor === 'required' ? requiredSince : null }
}

/** The member without which single sign-on can't be on; null where nothing is missing. */
export function missingForSso({ sso }: AccountPolicy): 'issuer' | 'clientId' | null {
  if (sso.mode === 'off') return null
  if (sso.issuer === null) return 'issuer'
  return sso.clientId === null ? 'clientId' : null
}

/** Whether the end of the grace is a date that RFC 3339 can write, so that users can be told of it. */
export function isGraceWritable(policy: AccountPolicy): boolean {
  const end = accountEnforcesFrom(policy)
  return end === null || end.getUTCFullYear() <= LAST_YEAR
}

/** Whether the trust given to devices under the one policy still stands under the other. */
export function isDeviceTrustKept(before: AccountPolicy, after: AccountPolicy): boolean {
  return (
    before.twoFactor === after.twoFactor &&
    before.sso.mode === after.sso.mode &&
    before.trustedDevices.allowed === after.trustedDevices.allowed &&
    before.trustedDevices.days === after.trustedDevices.days
  )
}
