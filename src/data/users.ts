import type { Role } from '../core/claims.ts'
import { type Page, type PageRequest, pageOf } from '../core/pages.ts'
import type { PrismaClient } from '../generated/prisma/client.ts'
import { isUniqueViolation } from './conflicts.ts'
import type { UserKey } from './subjects.ts'

export interface NewUser {
  accountId: string
  id: string
  email: string
  role: Role
  passwordHash: string | null
  externalId: string | null
  createdAt: Date
}

/** A user as the roster shows one. */
export interface RosterUser {
  accountId: string
  id: string
  email: string
  role: Role
  externalId: string | null
  disabledAt: Date | null
  createdAt: Date
  lastSignInAt: Date | null
  codeLockedUntil: Date | null
  codeDisabledAt: Date | null
  authenticators: { confirmedAt: Date }[]
  enrollment: { expiresAt: Date } | null
  _count: { recoveryCodes: number }
}

export interface UserChange {
  email?: string
  role?: Role
  passwordHash?: string
  disabledAt?: Date | null
  externalId?: string | null
}

export type ChangeOutcome =
  | { changed: true; user: RosterUser }
  | { changed: false; reason: 'not-found' | 'email-taken' | 'last-admin' }

export type RemoveOutcome = 'removed' | 'not-found' | 'last-admin'

const inRoster = {
  omit: { passwordHash: true },
  include: {
    authenticators: { select: { confirmedAt: true }, orderBy: { confirmedAt: 'asc' } },
    enrollment: { select: { expiresAt: true } },
    _count: { select: { recoveryCodes: true } }
  }
} as const

export type Users = ReturnType<typeof createUsers>

export function createUsers(prisma: PrismaClient) {
  return {
    /** Null: another user of the account has the address. */
    async create(user: NewUser): Promise<RosterUser | null> {
      try {
        return await prisma.user.create({ data: user, ...inRoster })
      } catch (error) {
        if (isUniqueViolation(error, 'User_accountId_email_key')) return null
        throw error
      }
    },

    /** Null: no such user in this account. */
    find({ accountId, userId }: UserKey): Promise<RosterUser | null> {
      return prisma.user.findUnique({
        where: { accountId_id: { accountId, id: userId } },
        ...inRoster
      })
    },

    /** Oldest first: ids are UUIDv7, so their order is the order of creation. */
    async list(accountId: string, { limit, after }: PageRequest): Promise<Page<RosterUser>> {
      const rows = await prisma.user.findMany({
        where: { accountId, ...(after ? { id: { gt: after } } : {}) },
        orderBy: { id: 'asc' },
        take: limit + 1,
        ...inRoster
      })
      return pageOf(rows, limit)
    },

    /** The stored hash, for whoever must show the password once more; null for none. */
    async findPasswordHash({ accountId, userId }: UserKey): Promise<string | null> {
      const user = await prisma.user.findUnique({
        where: { accountId_id: { accountId, id: userId } },
        select: { passwordHash: true }
      })
      return user?.passwordHash ?? null
    },

    /**
     * Changes a user. A new password or a disabling raises the epoch in the same write, so every earlier token
     * is dead with it. Never leaves an account that has an admin without one.
     */
    async change({ accountId, userId }: UserKey, change: UserChange): Promise<ChangeOutcome> {
      const killsTokens = change.passwordHash !== undefined || Boolean(change.disabledAt)
      const epoch = killsTokens ? { epoch: { increment: 1 } } : {}
      const mayRemoveAdmin = change.role === 'member' || Boolean(change.disabledAt)
      try {
        return await prisma.$transaction(async (transaction) => {
          if (mayRemoveAdmin && (await isLastAdmin(transaction, { accountId, userId }))) {
            return { changed: false, reason: 'last-admin' }
          }
          const changed = await transaction.user.updateMany({
            where: { accountId, id: userId },
            data: { ...change, ...epoch }
          })
          if (changed.count === 0) return { changed: false, reason: 'not-found' }
          const user = await transaction.user.findUniqueOrThrow({
            where: { accountId_id: { accountId, id: userId } },
            ...inRoster
          })
          return { changed: true, user }
        })
      } catch (error) {
        if (isUniqueViolation(error, 'User_accountId_email_key'))
          return { changed: false, reason: 'email-taken' }
        throw error
      }
    },

    /** Deletes a user and all that is theirs. Never leaves an account that has an admin without one. */
    remove({ accountId, userId }: UserKey): Promise<RemoveOutcome> {
      return prisma.$transaction(async (transaction) => {
        if (await isLastAdmin(transaction, { accountId, userId })) return 'last-admin'
        const removed = await transaction.user.deleteMany({ where: { accountId, id: userId } })
        return removed.count === 1 ? 'removed' : 'not-found'
      })
    },

    /** Notes a sign-in that needed no second step. */
    async noteSignIn({ accountId, userId }: UserKey, now: Date): Promise<void> {
      await prisma.user.updateMany({
        where: { accountId, id: userId },
        data: { lastSignInAt: now }
      })
    }
  }
}

type Transaction = Parameters<Parameters<PrismaClient['$transaction']>[0]>[0]

// The lock on the account's row makes two admins who demote each other take turns.
async function isLastAdmin(
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
