// The lock on a user's row. Every transaction that judges a user's state before it writes takes this lock first.
import type { Role } from '../../core/claims.ts'
import type { Transaction } from '../trail/act-records.ts'
import type { UserKey } from './subjects.ts'

/** A user at the instant of the lock. Everything here stays true until the transaction ends. */
export interface LockedUser extends UserKey {
  /** The address for notices. */
  email: string
  role: Role
  epoch: number
  isDisabled: boolean
  codeLockedUntil: Date | null
  codeDisabledAt: Date | null
  recoveryLockedUntil: Date | null
}

/** A user who acts for themself, with the epoch of their token. */
export interface Owner extends UserKey {
  epoch: number
}

/**
 * Locks the user's row until the transaction ends, in any state of the user. Returns null if the user does not exist in
 * this account. What the transaction reads afterwards includes everything that an earlier holder of the lock wrote.
 */
export async function lockUser(
  transaction: Transaction,
  { accountId, userId }: UserKey
): Promise<LockedUser | null> {
  // Excludes every writer to the user's rows, because each of them updates the user's own row or locks it with at least
  // FOR SHARE. A stronger lock would exclude only the checks of foreign keys as well.
  const [user] = await transaction.$queryRaw<LockedUser[]>`
    SELECT "accountId", id AS "userId", email, role::text AS role, epoch, "disabledAt" IS NOT NULL AS "isDisabled",
      "codeLockedUntil", "codeDisabledAt", "recoveryLockedUntil"
    FROM "User" WHERE "accountId" = ${accountId}::uuid AND id = ${userId}::uuid
    FOR NO KEY UPDATE`
  return user ?? null
}

/** Locks like `lockUser`. Returns null also if the user is disabled, or if their epoch has changed. */
export async function lockOwner(
  transaction: Transaction,
  owner: Owner
): Promise<LockedUser | null> {
  const user = await lockUser(transaction, owner)
  return user && isStillValid(user, owner) ? user : null
}

/** Returns whether a token with this epoch is still valid for the user. */
export function isStillValid(user: LockedUser, { epoch }: { epoch: number }): boolean {
  return !user.isDisabled && user.epoch === epoch
}
