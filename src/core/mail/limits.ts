// How many mails one mailbox and one account may get, and which mails go first.
import type { NoticeKind } from './notices.ts'

export interface MailLimits {
  /** Mails of one kind to one recipient in an hour, from all accounts together. */
  readonly perRecipientPerHour: number
  /** Mails of one account in an hour, without announcements. */
  readonly perAccountPerHour: number
}

/** The period of all limits on mails. It starts with the first mail that is counted. */
export const MAIL_WINDOW_SECONDS = 60 * 60

/** Smaller numbers are sent first. In their order. */
export const PRIORITIES = { admins: -1, security: 0, announcement: 1 } as const

/** A policy sends these to every user of an account. They are spread over time, and no user has to act immediately. */
const ANNOUNCEMENTS: ReadonlySet<NoticeKind> = new Set(['two_factor_required'])

/**
 * What happened to a whole account. The caller who did it can cause many notices to users, for example by invented addresses:
 * these must neither come before the notice to the admins nor use up its limit.
 */
const TO_ADMINS: ReadonlySet<NoticeKind> = new Set([
  'sso_changed',
  'support_reset_of_user',
  'admin_added',
  'admin_removed',
  'api_key_created',
  'api_keys_revoked',
  'policy_changed',
  'mandate_set',
  'account_changed'
])

/** Returns the priority of the mails of a kind. */
export function priorityOf(kind: NoticeKind): number {
  if (TO_ADMINS.has(kind)) return PRIORITIES.admins
  return ANNOUNCEMENTS.has(kind) ? PRIORITIES.announcement : PRIORITIES.security
}

/** Returns how many mails an account may have sent in an hour for more of this priority; null if there is no limit. */
export function accountLimitOf(
  priority: number,
  { perAccountPerHour }: Pick<MailLimits, 'perAccountPerHour'>
): number | null {
  if (priority === PRIORITIES.announcement) return null
  return priority === PRIORITIES.admins ? 2 * perAccountPerHour : perAccountPerHour
}

/** The place of a mail among the mails of its kind to its recipient in this hour, from 1. */
export interface MailPlace {
  /** Among those of its account. */
  ofAccount: number
  /** Among those of all accounts. */
  ofAll: number
}

/**
 * Returns whether a mail is sent now. The first of each account always is: no account can delay the first notice of another
 * account by mails to the same recipient.
 */
export function isWithinLimit(
  { ofAccount, ofAll }: MailPlace,
  { perRecipientPerHour }: Pick<MailLimits, 'perRecipientPerHour'>
): boolean {
  return ofAccount === 1 || ofAll <= perRecipientPerHour
}
