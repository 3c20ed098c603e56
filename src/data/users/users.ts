import type { SignedAuditEvent } from '../../core/audit/events.ts'
import type { Role } from '../../core/claims.ts'
import { noticeTo } from '../../core/mail/notices.ts'
import { isUniqueViolation } from '../engine/conflicts.ts'
import { type Clients, on, prepare, template } from '../engine/statements.ts'
import type { UserKey } from '../sign-in/subjects.ts'
import { forgetDevices } from '../sign-in/trusted-devices.ts'
import { isStillValid, type LockedUser, lockUser, type Owner } from '../sign-in/user-lock.ts'
import { type Transaction, writeRecord } from '../trail/act-records.ts'
import { eventInsert } from '../trail/audit-events.ts'
import { isActiveAdmin, notifyOfAdmin, recordChange, type UserChange } from './change-notices.ts'
import { createRoster, type RosterUser } from './roster.ts'

export type { UserChange } from './change-notices.ts'

export interface NewUser {
  accountId: string
  id: string
  email: string
  role: Role
  passwordHash: string | null
  externalId: string | null
  createdAt: Date
}

/** Whom a caller may change in a certain way. `members`: the user must not be an admin when the change is written. */
export type Among = 'everyone' | 'members'

export type ChangeOutcome =
  | { changed: true; user: RosterUser }
  | {
      changed: false
      reason:
        | 'not-found'
        | 'email-taken'
        | 'last-admin'
        | 'invalid-credential'
        | 'insufficient-scope'
    }

export type RemoveOutcome = 'removed' | 'not-found' | 'last-admin' | 'insufficient-scope'

const inRoster = {
  omit: { passwordHash: true },
  include: {
    authenticators: { select: { confirmedAt: true }, orderBy: { confirmedAt: 'asc' } },
    enrollment: { select: { expiresAt: true, wrongTries: true } },
    ssoIdentities: { select: { issuer: true, clientId: true } },
    _count: { select: { recoveryCodes: true } }
  }
} as const

export type Users = ReturnType<typeof createUsers>

export function createUsers({ prisma, query }: Clients) {
  return {
    ...createRoster(prisma),

    /** Creates a user. Notifies a new admin, and the other admins. Returns null if another user of the account has the address. */
    async create(user: NewUser, event: SignedAuditEvent): Promise<RosterUser | null> {
      try {
        return await prisma.$transaction(async (transaction) => {
          const created = await transaction.user.create({ data: user, ...inRoster })
          const isAdmin = user.role === 'admin'
          const notices = isAdmin ? [noticeTo(user, event, 'role_changed', { role: 'admin' })] : []
          await writeRecord(transaction, event, notices)
          if (isAdmin)
            await notifyOfAdmin(transaction, { ...user, userId: user.id }, 'added', event)
          return created
        })
      } catch (error) {
        if (isUniqueViolation(error, 'User_accountId_email_key')) return null
        throw error
      }
    },

    /**
     * Returns the hash of the user's password (null if they have none) and the slug of the account, for routes that ask for
     * the password again. Failures count under the slug, as at a sign-in. Returns null if the user does not exist.
     */
    async findPassword({
      accountId,
      userId
    }: UserKey): Promise<{ hash: string | null; slug: string } | null> {
      const user = await prisma.user.findUnique({
        where: { accountId_id: { accountId, id: userId } },
        select: { passwordHash: true, account: { select: { slug: true } } }
      })
      return user && { hash: user.passwordHash, slug: user.account.slug }
    },

    /**
     * Changes a user, and notifies them of a new password, address, role or state. Other admins are notified if the account
     * gains or loses an admin. If the password is changed or the user is
     * disabled, the same write raises the epoch, which revokes all earlier tokens, and all trusted devices are revoked.
     * Never removes the last admin of an account. If a user changes themself, `epoch` is that of their token, which
     * must still be valid at the write.
     */
    async change(
      { accountId, userId, epoch: shown }: UserKey & Partial<Owner>,
      change: UserChange,
      event: SignedAuditEvent,
      among: Among
    ): Promise<ChangeOutcome> {
      const revokesTokens = change.passwordHash !== undefined || Boolean(change.disabledAt)
      const epoch = revokesTokens ? { epoch: { increment: 1 } } : {}
      const mayRemoveAdmin = change.role === 'member' || Boolean(change.disabledAt)
      try {
        return await prisma.$transaction(async (transaction) => {
          if (mayRemoveAdmin && (await lockLastAdmin(transaction, { accountId, userId }))) {
            return { changed: false, reason: 'last-admin' }
          }
          const key = { accountId_id: { accountId, id: userId } }
          const before = await lockUser(transaction, { accountId, userId })
          if (!before) return { changed: false, reason: 'not-found' }
          const reason = refusalOf(before, { epoch: shown, among })
          if (reason) return { changed: false, reason }
          await transaction.user.updateMany({
            where: { accountId, id: userId },
            data: { ...change, ...epoch }
          })
          if (revokesTokens) await forgetDevices(transaction, { accountId, userId })
          await recordChange(transaction, before, change, event)
          const user = await transaction.user.findUniqueOrThrow({ where: key, ...inRoster })
          return { changed: true, user }
        })
      } catch (error) {
        if (isUniqueViolation(error, 'User_accountId_email_key'))
          return { changed: false, reason: 'email-taken' }
        throw error
      }
    },

    /** Deletes a user and everything that belongs to them, and notifies them. Never removes the last admin of an account. */
    remove(
      { accountId, userId }: UserKey,
      event: SignedAuditEvent,
      among: Among
    ): Promise<RemoveOutcome> {
      return prisma.$transaction(async (transaction) => {
        const isLastAdmin = await lockLastAdmin(transaction, { accountId, userId })
        const user = await lockUser(transaction, { accountId, userId })
        if (!user) return 'not-found'
        if (isBeyond(among, user)) return 'insufficient-scope'
        if (isLastAdmin) return 'last-admin'
        await transaction.user.deleteMany({ where: { accountId, id: userId } })
        await writeRecord(transaction, event, [noticeTo(user, event, 'user_deleted', {})])
        if (isActiveAdmin(user)) await notifyOfAdmin(transaction, user, 'deleted', event)
        return 'removed'
      })
    },

    /**
     * Records a sign-in that needed no second step. Returns false, and records nothing, if the user's password was changed
     * or the user was disabled since the password was read: the epoch says so.
     */
    async noteSignIn(
      { accountId, userId, epoch }: Owner,
      event: SignedAuditEvent
    ): Promise<boolean> {
      const [signIn] = await query<{ isNoted: boolean }, SignInNote>(signedIn, {
        accountId,
        userId,
        epoch,
        event
      })
      return signIn?.isNoted ?? false
    }
  }
}

type SignInNote = Owner & { event: SignedAuditEvent }

const signedIn = prepare(
  template<SignInNote>`
    WITH signed_in AS (
      UPDATE "User" SET "lastSignInAt" = ${({ event }) => event.occurredAt}::timestamptz
      WHERE "accountId" = ${({ accountId }) => accountId}::uuid AND id = ${({ userId }) => userId}::uuid
        AND epoch = ${({ epoch }) => epoch}::int AND "disabledAt" IS NULL
      RETURNING id
    ), recorded AS (${on(({ event }: SignInNote) => event, eventInsert('signed_in'))})
    SELECT EXISTS (SELECT 1 FROM signed_in) AS "isNoted"`
)

/** Returns why the caller may not change this user; null if they may. */
function refusalOf(
  before: LockedUser,
  { epoch, among }: { epoch: number | undefined; among: Among }
): 'insufficient-scope' | 'invalid-credential' | null {
  if (isBeyond(among, before)) return 'insufficient-scope'
  return epoch === undefined || isStillValid(before, { epoch }) ? null : 'invalid-credential'
}

function isBeyond(among: Among, { role }: { role: Role }): boolean {
  return among === 'members' && role === 'admin'
}

/**
 * Returns whether the user is the account's only admin. Locks the account's row until the transaction ends, which
 * serialises two admins who demote each other.
 */
async function lockLastAdmin(
  transaction: Transaction,
  { accountId, userId }: UserKey
): Promise<boolean> {
  await transaction.$queryRaw`SELECT 1 AS locked FROM "Account" WHERE id = ${accountId}::uuid FOR NO KEY UPDATE`
  const admins = await transaction.user.findMany({
    where: { accountId, role: 'admin', disabledAt: null },
    select: { id: true },
    take: 2
  })
  return admins.length === 1 && admins[0]?.id === userId
}
