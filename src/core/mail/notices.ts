// The notices that people receive by e-mail. NIST SP 800-63B-4 §4.6 requires one for every change of how a user signs in.
import type { AuditEvent } from '../audit/events.ts'
import type { Role } from '../claims.ts'
import type { PolicyChange } from './policy-changes.ts'

/** What each notice contains in addition to its time. Never a secret. */
export interface NoticeDetails {
  /** The first authenticator was confirmed. */
  two_factor_enabled: { authenticator: string }
  /** The user turned two-factor off or removed the last authenticator. */
  two_factor_disabled: Record<never, never>
  authenticator_added: { authenticator: string }
  authenticator_replaced: { authenticator: string; replaced: string }
  authenticator_removed: { authenticator: string }
  /** `trustedUntil`: the same sign-in made its device trusted. */
  recovery_code_used: { remaining: number; trustedUntil?: string }
  recovery_codes_regenerated: Record<never, never>
  /** Codes are disabled after too many wrong ones. */
  /** `firstFactor` is missing in notices of a release up to 0.1, and then means the password. */
  codes_disabled: { recoveryCodesRemaining: number; firstFactor?: 'password' | 'sso' }
  /** The requests of a user's second step reached their limit. Only a caller who has passed the first step can send them. */
  many_second_steps: Record<never, never>
  /** A token of the device was used that had been replaced earlier, so a copy exists. */
  device_revoked_after_reuse: Record<never, never>
  /** The user's first sign-in through the account's identity provider, which links the two. */
  sso_linked: Record<never, never>
  /** The account's back end has linked the user to an identity at the provider. */
  sso_linked_by_others: { provider: string }
  /** The link to an identity at the provider was removed. */
  sso_unlinked: { provider: string }
  /** Single sign-on of the account was changed. For every admin. */
  sso_changed: Actor & {
    mode: 'off' | 'optional' | 'required'
    provider: string | null
    client: string | null
    addresses: 'trusted' | 'verified'
  }
  /** An admin or the account's back end reset the user's two-factor. */
  two_factor_reset: { by: 'admin' | 'api_key' }
  /** The operator's support reset the user's two-factor. For the user. */
  support_reset: { ticket: string }
  /** The same, for every admin of the account. */
  support_reset_of_user: Actor & { ticket: string; user: string }
  /** The account requires two-factor. For users who have not set it up. `from` is null if it applies immediately. */
  two_factor_required: { from: string | null }
  /** Two-factor is required of this user alone, by themself or by the account. */
  two_factor_required_of_user: { by: 'self' | 'admin' | 'api_key' }
  /** That requirement was withdrawn. */
  two_factor_requirement_withdrawn: { by: 'self' | 'admin' | 'api_key' }
  /** An admin signed the user out everywhere. */
  signed_out: { devicesForgotten: boolean }
  password_changed: Record<never, never>
  /** For both the old address and the new one. */
  email_changed: { from: string; to: string }
  /** A sign-in made its browser or phone a trusted device. */
  device_trusted: { until: string }
  /** The user became an admin, or is no longer one. */
  role_changed: { role: Role }
  user_disabled: Record<never, never>
  user_enabled: Record<never, never>
  user_deleted: Record<never, never>
  /** The notices below go to every admin of the account. */
  admin_added: Actor & { user: string }
  /** `how`: the admin has lost the role, or was disabled or deleted. */
  admin_removed: Actor & { user: string; how: 'demoted' | 'disabled' | 'deleted' }
  api_key_created: Actor & { name: string; scopes: string[] }
  /** The keys that one request revoked. */
  api_keys_revoked: Actor & { names: string[] }
  /** Without changes of single sign-on. */
  policy_changed: Actor & { changes: PolicyChange[] }
  /** `from` is null if the operator has lifted the mandate. */
  mandate_set: Actor & { from: string | null; reason: string | null }
  /** The names of the changed fields. */
  account_changed: Actor & { fields: string[] }
}

/** The person or back end that did what a notice to the admins reports. */
export interface Actor {
  by: 'admin' | 'api_key' | 'operator'
  /** The address of the admin or the id of the API key; null for the operator. */
  actor: string | null
}

export type NoticeKind = keyof NoticeDetails

interface Circumstances {
  occurredAt: Date
  /** The address of the user's own act; null for acts of others, whose address is not the user's business. */
  address: string | null
}

/** A notice of one kind, to be sent. */
export type NoticeOf<Kind extends NoticeKind> = Circumstances & {
  accountId: string
  kind: Kind
  recipient: string
  details: NoticeDetails[Kind]
}

/** A notice of any kind, to be sent. */
export type Notice = { [Kind in NoticeKind]: NoticeOf<Kind> }[NoticeKind]

/**
 * Returns an issuer as a notice names it. Without its scheme it is no link: the person who names a provider must not be
 * able to send a link to all admins.
 */
export function providerOf(issuer: string): string {
  return issuer.replace(/^https?:\/\//i, '')
}

/** Returns the notice about an act for a user whom it concerns. */
export function noticeTo<Kind extends NoticeKind>(
  { accountId, email: recipient }: { accountId: string; email: string },
  {
    occurredAt,
    address,
    actor,
    userId
  }: Pick<AuditEvent, 'occurredAt' | 'address' | 'actor' | 'userId'>,
  kind: Kind,
  details: NoticeDetails[Kind]
): Notice {
  const isOwnAct = actor.kind === 'user' && actor.id === userId
  const circumstances = { occurredAt, address: isOwnAct ? address : null }
  // The types of this function's parameters ensure that kind and details match.
  return { accountId, kind, recipient, ...circumstances, details } as Notice
}
