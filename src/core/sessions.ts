// Whether the first factor of a session still lets the user extend it. A step-up copies the first factor, so no number of
// step-ups makes a session older than its limit, or lets it outlive the provider behind it.
import type { FirstFactor } from './claims.ts'
import type { SingleSignOn } from './policy.ts'

/**
 * Why a session cannot be extended. `too_old`: its first factor was shown too long ago, or its token does not say when.
 * `sso_required`: the account accepts no passwords any more. `provider_changed`: the account has another provider, or no
 * single sign-on.
 */
export type SessionEnd = 'too_old' | 'sso_required' | 'provider_changed'

/** What an account accepts as the first factor. */
export type AcceptedFactors = Pick<SingleSignOn, 'mode' | 'issuer'>

/** Returns why the account does not accept the first factor any more; null if it does. */
export function policyEnd(
  { kind, issuer }: FirstFactor,
  accepted: AcceptedFactors
): Exclude<SessionEnd, 'too_old'> | null {
  if (kind === 'password') return accepted.mode === 'required' ? 'sso_required' : null
  return accepted.mode === 'off' || accepted.issuer !== issuer ? 'provider_changed' : null
}

/** Returns why a session with this first factor cannot be extended; null if it can. A token without one cannot either. */
export function sessionEnd(
  firstFactor: FirstFactor | null,
  accepted: AcceptedFactors,
  { maxSeconds, now }: { maxSeconds: number; now: Date }
): SessionEnd | null {
  if (!firstFactor) return 'too_old'
  const end = policyEnd(firstFactor, accepted)
  if (end) return end
  return now.getTime() - firstFactor.at.getTime() > maxSeconds * 1000 ? 'too_old' : null
}
