import type { SignedAuditEvent } from '../../core/audit/events.ts'
import type { FirstFactor, Role } from '../../core/claims.ts'
import { noticeTo } from '../../core/mail/notices.ts'
import { isUniqueViolation } from '../engine/conflicts.ts'
import { type Clients, type DatabaseClock, on, prepare, template } from '../engine/statements.ts'
import type { UserKey } from '../sign-in/subjects.ts'
import { forgetDevices } from '../sign-in/trusted-devices.ts'
import {
  type Among,
  isBeyond,
  type LockedUser,
  lockTarget,
  type Owner,
  type TargetRefusal
} from '../sign-in/user-lock.ts'
import { firstFactor } from '../sign-in/verdict-parts.ts'
import { type Transaction, writeRecord } from '../trail/act-records.ts'
import { eventInsert } from '../trail/audit-events.ts'
import { doOnce, type ResponseKeeper } from '../trail/stored-responses.ts'
import { isActiveAdmin, notifyOfAdmin, recordChange, type UserChange } from './change-notices.ts'
import { createRoster, findHeld, inRoster, type RosterUser } from './roster.ts'

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

/** The caller who changes or removes a user: whom they may act on, and the user or admin who acts; null for an API key. */
export interface Changer {
  among: Among
  actor: Owner | null
}

type Refusal = TargetRefusal | 'last-admin' | 'insufficient-scope'

export type ChangeOutcome =
  | { changed: true; user: RosterUser }
  | { changed: false; reason: Refusal | 'email-taken' }

export type RemoveOutcome = 'removed' | Refusal

export type Users = ReturnType<typeof createUsers>

export function createUsers({ prisma, query, clock }: Clients) {
  const signedIn = signInNoted(clock)
  return {
    ...createRoster(prisma),

    /** Creates a user. Notifies a new admin, and the other admins. Returns null if another user of the account has the address. */
    async create(
      user: NewUser,
      event: SignedAuditEvent,
      keeper: ResponseKeeper<RosterUser> | null
    ): Promise<RosterUser | null> {
      const isAdmin = user.role === 'admin'
      const notices = isAdmin ? [noticeTo(user, event, 'role_changed', { role: 'admin' })] : []
      try {
        return await prisma.$transaction((transaction) =>
          doOnce(transaction, keeper, async () => {
            const created = await transaction.user.create({ data: user, ...inRoster })
            await writeRecord(transaction, event, notices)
            if (isAdmin)
              await notifyOfAdmin(transaction, { ...user, userId: user.id }, 'added', event)
            return created
          })
        )
      } catch (error) {
        if (isUniqueViolation(error, 'User_accountId_email_key')) return null
        throw error
      }
    },

    /**
     * Returns the hash of the user's password (null if they have none), the epoch that belongs to it, and the slug of the
     * account, for routes that ask for the password again. Failures count under the slug, as at a sign-in. Returns null if
     * the user does not exist.
     */
    async findPassword({
      accountId,
      userId
    }: UserKey): Promise<{ hash: string | null; epoch: number; slug: string } | null> {
      const user = await prisma.user.findUnique({
        where: { accountId_id: { accountId, id: userId } },
        select: { passwordHash: true, epoch: true, account: { select: { slug: true } } }
      })
      return user && { hash: user.passwordHash, epoch: user.epoch, slug: user.account.slug }
    },

    /**
     * Changes a user, and notifies them of a new password, address, role or state. Other admins are notified if the account
     * gains or loses an admin. If the password is changed or the user is disabled, the same write raises the epoch, which
     * revokes all earlier tokens, and all trusted devices are revoked. Never removes the last admin of an account. The token
     * and the role of the actor must still be valid at the write.
     */
    async change(
      { accountId, userId }: UserKey,
      change: UserChange,
      event: SignedAuditEvent,
      changer: Changer
    ): Promise<ChangeOutcome> {
      const revokesTokens = change.passwordHash !== undefined || Boolean(change.disabledAt)
      const epoch = revokesTokens ? { epoch: { increment: 1 } } : {}
      const mayRemoveAdmin = change.role === 'member' || Boolean(change.disabledAt)
      try {
        return await prisma.$transaction(async (transaction) => {
          const before = mayRemoveAdmin
            ? await lockRemovable(transaction, { accountId, userId }, changer)
            : await lockChangeable(transaction, { accountId, userId }, changer)
          if (typeof before === 'string') return { changed: false, reason: before }
          await transaction.user.updateMany({
            where: { accountId, id: userId },
            data: { ...change, ...epoch }
          })
          if (revokesTokens) await forgetDevices(transaction, { accountId, userId })
          await recordChange(transaction, before, change, event)
          return { changed: true, user: await findHeld(transaction, { accountId, userId }) }
        })
      } catch (error) {
        if (isUniqueViolation(error, 'User_accountId_email_key'))
          return { changed: false, reason: 'email-taken' }
        throw error
      }
    },

    /**
     * Deletes a user and everything that belongs to them, and notifies them. Never removes the last admin of an account. The
     * token and the role of the actor must still be valid at the write.
     */
    remove(
      { accountId, userId }: UserKey,
      event: SignedAuditEvent,
      changer: Changer
    ): Promise<RemoveOutcome> {
      return prisma.$transaction(async (transaction) => {
        const user = await lockRemovable(transaction, { accountId, userId }, changer)
        if (typeof user === 'string') return user
        await transaction.user.deleteMany({ where: { accountId, id: userId } })
        await writeRecord(transaction, event, [noticeTo(user, event, 'user_deleted', {})])
        if (isActiveAdmin(user)) await notifyOfAdmin(transaction, user, 'deleted', event)
        return 'removed'
      })
    },

    /**
     * Records a sign-in that needed no second step. Records nothing if, since the first factor was checked, the user's
     * password was changed, the user was disabled, or the account stopped accepting this factor (`gone`), or if two-factor is
     * enforced since `enforcedFrom`, by the clock of the database or of this replica (`late`).
     */
    async noteSignIn(
      { accountId, userId, epoch }: Owner,
      event: SignedAuditEvent,
      { firstFactor, enforcedFrom }: SignInTerms
    ): Promise<NotedSignIn> {
      const note = { accountId, userId, epoch, event, firstFactor, enforcedFrom }
      const [signIn] = await query<{ outcome: NotedSignIn }, SignInNote>(signedIn, note)
      return signIn?.outcome ?? 'gone'
    }
  }
}

export type NotedSignIn = 'noted' | 'gone' | 'late'

/** What a sign-in depends on when it is written. */
export interface SignInTerms {
  firstFactor: FirstFactor
  enforcedFrom: Date | null
}

type SignInNote = Owner & SignInTerms & { event: SignedAuditEvent }

function signInNoted(clock: DatabaseClock) {
  const occurredAt = ({ event }: SignInNote) => event.occurredAt
  return prepare(template<SignInNote>`
    WITH ${on((note: SignInNote) => ({ judged: note, record: note }), firstFactor.policy)} judged AS MATERIALIZED (
      SELECT coalesce(GREATEST(${occurredAt}::timestamptz, ${clock})
        >= ${({ enforcedFrom }) => enforcedFrom}::timestamptz, FALSE) AS "isLate"
    ), signed_in AS (
      UPDATE "User" SET "lastSignInAt" = ${occurredAt}::timestamptz
      WHERE "accountId" = ${({ accountId }) => accountId}::uuid AND id = ${({ userId }) => userId}::uuid
        AND epoch = ${({ epoch }) => epoch}::int AND "disabledAt" IS NULL
        AND NOT (SELECT "isLate" FROM judged)
        ${firstFactor.isAccepted}
      RETURNING id
    ), recorded AS (${on(({ event }: SignInNote) => event, eventInsert('signed_in'))})
    SELECT CASE WHEN EXISTS (SELECT 1 FROM signed_in) THEN 'noted'
      WHEN "isLate" THEN 'late' ELSE 'gone' END AS outcome FROM judged`)
}

/** Locks the user, and returns why the caller may not act on them, if so. */
async function lockChangeable(
  transaction: Transaction,
  key: UserKey,
  { among, actor }: Changer
): Promise<LockedUser | TargetRefusal | 'insufficient-scope'> {
  const user = await lockTarget(transaction, key, actor)
  if (typeof user === 'string') return user
  return isBeyond(among, user) ? 'insufficient-scope' : user
}

/**
 * Locks the user like `lockChangeable`, for a change that removes an admin. Refuses it for the account's only admin. The
 * account's row is locked first, so that two admins who demote each other run in turn, but only if the user is an admin:
 * changes of other users neither wait for each other nor occupy connections.
 */
async function lockRemovable(
  transaction: Transaction,
  key: UserKey,
  changer: Changer
): Promise<LockedUser | Refusal> {
  const isHeld = (await isAdminNow(transaction, key)) && (await lockAccount(transaction, key))
  const user = await lockChangeable(transaction, key, changer)
  if (typeof user === 'string' || !isActiveAdmin(user)) return user
  // Promoted between the two statements. Against the usual order, so PostgreSQL may have to end a deadlock here.
  if (!isHeld) await lockAccount(transaction, key)
  return (await isOnlyAdmin(transaction, key)) ? 'last-admin' : user
}

async function lockAccount(transaction: Transaction, { accountId }: UserKey): Promise<true> {
  await transaction.$queryRaw`SELECT 1 AS locked FROM "Account" WHERE id = ${accountId}::uuid FOR NO KEY UPDATE`
  return true
}

async function isAdminNow(transaction: Transaction, key: UserKey): Promise<boolean> {
  const { accountId, userId: id } = key
  return (await transaction.user.count({ where: { accountId, id, ...ACTIVE_ADMIN } })) > 0
}

async function isOnlyAdmin(
  transaction: Transaction,
  { accountId, userId }: UserKey
): Promise<boolean> {
  const where = { accountId, ...ACTIVE_ADMIN }
  const admins = await transaction.user.findMany({ where, select: { id: true }, take: 2 })
  return admins.length === 1 && admins[0]?.id === userId
}

const ACTIVE_ADMIN = { role: 'admin', disabledAt: null } as const
