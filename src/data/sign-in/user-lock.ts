// The lock on a user's row. Every transaction that judges a user's state before it writes takes this lock first.
import { actingRefusal, type Role } from '../../core/claims.ts'
import type { StoredRequirement } from '../../core/two-factor/requirements.ts'
import { Prisma } from '../../generated/prisma/client.ts'
import type { Transaction } from '../trail/act-records.ts'
import type { UserKey } from './subjects.ts'

/** A user at the instant of the lock. Everything here stays true until the transaction ends. */
export interface LockedUser extends UserKey, StoredRequirement {
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
  const [user] = await lockUsers(transaction, accountId, [userId])
  return user ?? null
}

/** Locks like `lockUser`. Returns null also if the user is disabled, or if their epoch has changed. */
export async function lockOwner(
  transaction: Transaction,
  owner: Owner
): Promise<LockedUser | null> {
  const user = await lockUser(transaction, owner)
  return actingRefusal(user, { epoch: owner.epoch, as: 'self' }) ? null : user
}

/** Whom a caller may act on in a certain way. `members`: the user must not be an admin when the act is written. */
export type Among = 'everyone' | 'members'

export function isBeyond(among: Among, { role }: LockedUser): boolean {
  return among === 'members' && role === 'admin'
}

/** Why an act on a user is refused. `limited-access`: the actor acts on another user and is no admin any more. */
export type TargetRefusal = 'user-not-found' | 'invalid-credential' | 'limited-access'

/**
 * Locks the row of a user on whom someone acts, and the row of the actor: the user or an admin, with the epoch of their
 * token; null for an API key or the operator. The token and the role of the actor are judged under the lock, because both
 * may have been lost since the request began.
 */
export async function lockTarget(
  transaction: Transaction,
  { accountId, userId }: UserKey,
  actor: Owner | null
): Promise<LockedUser | TargetRefusal> {
  const ids = actor && actor.userId !== userId ? [userId, actor.userId] : [userId]
  const users = await lockUsers(transaction, accountId, ids)
  const named = (id: string) => users.find((user) => user.userId === id)
  const as = actor?.userId === userId ? 'self' : 'admin'
  const refusal = actor && actingRefusal(named(actor.userId) ?? null, { epoch: actor.epoch, as })
  return refusal ?? named(userId) ?? 'user-not-found'
}

/** Locks the users of an account with these ids, in the order of their ids, so that two transactions never deadlock. */
function lockUsers(
  transaction: Transaction,
  accountId: string,
  ids: readonly string[]
): Promise<LockedUser[]> {
  // Excludes every writer to the user's rows, because each of them updates the user's own row or locks it with at least
  // FOR SHARE. The only thing that a stronger lock would also block is checks of foreign keys.
  return transaction.$queryRaw<LockedUser[]>`
    SELECT "accountId", id AS "userId", email, role::text AS role, epoch,
      "disabledAt" IS NOT NULL AS "isDisabled", "codeLockedUntil", "codeDisabledAt",
      "recoveryLockedUntil", "requiredBy"::text AS "requiredBy", "requiredSince",
      "resetPendingSince"
    FROM "User"
    WHERE "accountId" = ${accountId}::uuid AND id IN (${Prisma.join(ids.map((id) => Prisma.sql`${id}::uuid`))})
    ORDER BY id FOR NO KEY UPDATE`
}
