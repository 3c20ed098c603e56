// The notices when a user is created, changed or deleted: to the user, and if the account gains or loses an admin, to the
// other admins.
import type { SignedAuditEvent } from '../../core/audit/events.ts'
import type { Role } from '../../core/claims.ts'
import { type Notice, noticeTo } from '../../core/mail/notices.ts'
import type { UserKey } from '../sign-in/subjects.ts'
import type { LockedUser } from '../sign-in/user-lock.ts'
import { type Transaction, writeRecord } from '../trail/act-records.ts'
import { notifyAdmins } from '../trail/admin-notices.ts'

/** The new values of a user's fields. */
export interface UserChange {
  email?: string
  role?: Role
  passwordHash?: string
  disabledAt?: Date | null
  externalId?: string | null
}

/** How the account gains or loses an admin. */
type Adminship = 'added' | 'demoted' | 'disabled' | 'deleted'

/** Writes the event of a change and the notices about it. */
export async function recordChange(
  transaction: Transaction,
  before: LockedUser,
  change: UserChange,
  event: SignedAuditEvent
): Promise<void> {
  await writeRecord(transaction, event, noticesOfChange(before, change, event))
  const adminship = adminshipAfter(before, change)
  if (adminship) await notifyOfAdmin(transaction, before, adminship, event)
}

/** Returns the notices to the user whom a change concerns. A change to the current value has none. */
function noticesOfChange(
  before: LockedUser,
  change: UserChange,
  event: SignedAuditEvent
): Notice[] {
  return [
    ...(change.passwordHash === undefined ? [] : [noticeTo(before, event, 'password_changed', {})]),
    ...noticesOfEmail(before, change, event),
    ...noticesOfRole(before, change, event),
    ...noticesOfState(before, change, event)
  ]
}

/**
 * A change of address goes to both addresses: someone who takes over an account must not be the only one notified.
 */
function noticesOfEmail(
  { accountId, email: from }: LockedUser,
  { email: to }: UserChange,
  event: SignedAuditEvent
): Notice[] {
  if (to === undefined || to === from) return []
  return [from, to].map((email) =>
    noticeTo({ accountId, email }, event, 'email_changed', { from, to })
  )
}

function noticesOfRole(
  before: LockedUser,
  { role }: UserChange,
  event: SignedAuditEvent
): Notice[] {
  if (role === undefined || role === before.role) return []
  return [noticeTo(before, event, 'role_changed', { role })]
}

function noticesOfState(
  before: LockedUser,
  { disabledAt }: UserChange,
  event: SignedAuditEvent
): Notice[] {
  const isDisabled = disabledAt === undefined ? before.isDisabled : disabledAt !== null
  if (isDisabled === before.isDisabled) return []
  return [noticeTo(before, event, isDisabled ? 'user_disabled' : 'user_enabled', {})]
}

/** Returns how the change adds or removes an admin; null if it does neither. */
function adminshipAfter(before: LockedUser, change: UserChange): Adminship | null {
  const isDisabled =
    change.disabledAt === undefined ? before.isDisabled : change.disabledAt !== null
  const after = { role: change.role ?? before.role, isDisabled }
  if (isActiveAdmin(before) === isActiveAdmin(after)) return null
  if (isActiveAdmin(after)) return 'added'
  return isDisabled ? 'disabled' : 'demoted'
}

export function isActiveAdmin({ role, isDisabled }: { role: Role; isDisabled: boolean }): boolean {
  return role === 'admin' && !isDisabled
}

/** Notifies the other admins that the account has gained or lost an admin. */
export async function notifyOfAdmin(
  transaction: Transaction,
  { userId, email: user }: UserKey & { email: string },
  adminship: Adminship,
  event: SignedAuditEvent
): Promise<void> {
  if (adminship === 'added') {
    await notifyAdmins(transaction, event, 'admin_added', { user }, userId)
    return
  }
  await notifyAdmins(transaction, event, 'admin_removed', { user, how: adminship }, userId)
}
