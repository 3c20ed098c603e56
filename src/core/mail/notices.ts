// What people are told by mail: NIST SP 800-63B-4 §4.6 wants every change of the means of sign-in told to their owner.
import type { AuditEvent } from '../audit/events.ts'

/** What each notice says beside when it happened; never a secret. */
export interface NoticeDetails {
  /** The first authenticator was confirmed. */
  two_factor_enabled: { authenticator: string }
  /** Turned off by the user, or the last authenticator removed. */
  two_factor_disabled: Record<never, never>
  authenticator_added: { authenticator: string }
  authenticator_replaced: { authenticator: string; replaced: string }
  authenticator_removed: { authenticator: string }
  recovery_code_used: { remaining: number }
  recovery_codes_regenerated: Record<never, never>
  /** Codes are switched off after too many wrong ones. */
  codes_disabled: { recoveryCodesRemaining: number }
  /** Somebody has shown a token of it that was replaced before: there is a copy. */
  device_revoked_after_reuse: Record<never, never>
  /** The first sign-in through the account's identity provider: from then on it signs this user in. */
  sso_linked: Record<never, never>
  /** Reset by an admin, or by the account's back end. */
  two_factor_reset: { by: 'admin' | 'api_key' }
  /** Reset by the operator's support: to the user. */
  support_reset: { ticket: string }
  /** The same, to every admin of the account. */
  support_reset_of_user: { ticket: string; user: string }
  /** Two-factor becomes everyone's duty: to the users still to enrol. `from` is null for at once. */
  two_factor_required: { from: string | null }
  password_changed: Record<never, never>
  /** To the former address and to the new one. */
  email_changed: { from: string; to: string }
}

export type NoticeKind = keyof NoticeDetails

export interface Circumstances {
  occurredAt: Date
  /** Where the act came from; null where that is somebody else's business (an admin's, a back end's). */
  address: string | null
}

/** A mail to be, of one kind. */
export type NoticeOf<Kind extends NoticeKind> = Circumstances & {
  accountId: string
  kind: Kind
  recipient: string
  details: NoticeDetails[Kind]
}

/** One mail to be. */
export type Notice = { [Kind in NoticeKind]: NoticeOf<Kind> }[NoticeKind]

/** The notice of an act to somebody whom it concerns. */
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
  // Kind and details belong together by this function's own type.
  return { accountId, kind, recipient, ...circumstances, details } as Notice
}
