// The identity provider that an account's policy names.
import type { SingleSignOn } from '../policy.ts'

const DAY_MS = 86_400_000

/**
 * For this long, a provider needs a code to link a user who has an authenticator. The admins, who are notified of a new
 * provider, can act in time if an attacker has set it.
 */
const NEW_PROVIDER_MS = DAY_MS

/**
 * Returns whether an identity that was never used needs a code from a user who has an authenticator. It does if the back end
 * has linked it, or if the account's identity provider was set, or was given more power, less than 24 hours ago.
 */
export function needsLinkCode(
  { since }: Pick<SingleSignOn, 'since'>,
  { isLinkedByBackEnd, now }: { isLinkedByBackEnd: boolean; now: Date }
): boolean {
  const isNew = since !== null && now.getTime() - since.getTime() < NEW_PROVIDER_MS
  return isLinkedByBackEnd || isNew
}

/** Returns whether single sign-on is on, through this client of this provider. */
export function isProvider(
  { mode, ...sso }: SingleSignOn,
  { issuer, clientId }: { issuer: string; clientId: string }
): boolean {
  return mode !== 'off' && sso.issuer === issuer && sso.clientId === clientId
}

/** Returns whether two settings of single sign-on differ in anything that an admin can set. */
export function isSsoChanged(before: SingleSignOn, after: SingleSignOn): boolean {
  const members = ['mode', 'issuer', 'clientId', 'trustEmail'] as const
  return members.some((member) => before[member] !== after[member])
}
