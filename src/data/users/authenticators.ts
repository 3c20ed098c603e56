// The changes that a user makes to their own authenticators: rename and remove.
import type { SignedAuditEvent } from '../../core/audit/events.ts'
import { noticeTo } from '../../core/mail/notices.ts'
import type { PrismaClient } from '../../generated/prisma/client.ts'
import { isUniqueViolation } from '../engine/conflicts.ts'
import type { DemandsReader } from '../policy/demands.ts'
import { isUser, type UserKey } from '../sign-in/subjects.ts'
import { forgetDevices } from '../sign-in/trusted-devices.ts'
import { type LockedUser, lockOwner, type Owner } from '../sign-in/user-lock.ts'
import { type Transaction, writeRecord } from '../trail/act-records.ts'
import { type TurnOffOutcome, turnOffUnlessRequired } from './two-factor.ts'

export interface Authenticator {
  id: string
  name: string
  /** `pending`: the authenticator waits for its first code. */
  state: 'active' | 'pending'
  createdAt: Date
  confirmedAt: Date | null
  lastUsedAt: Date | null
}

export type RenameOutcome =
  | { renamed: true; authenticator: Authenticator }
  | { renamed: false; reason: 'invalid-credential' | 'authenticator-not-found' | 'name-taken' }

export type RemoveOutcome = TurnOffOutcome | 'authenticator-not-found'

export type Authenticators = ReturnType<typeof createAuthenticators>

export function createAuthenticators(prisma: PrismaClient, demands: DemandsReader) {
  return {
    /**
     * Returns the active authenticators and the pending one, oldest first. Returns null if the user does not exist in
     * this account.
     */
    async list(user: UserKey, now: Date): Promise<Authenticator[] | null> {
      return (await isUser(prisma, user)) ? read(prisma, user, now) : null
    },

    /** Renames an authenticator. The name must be unique among those of the user. Revokes no tokens. */
    async rename(
      owner: Owner,
      renamed: Pick<Authenticator, 'id' | 'name'>,
      event: SignedAuditEvent
    ): Promise<RenameOutcome> {
      try {
        return await prisma.$transaction((transaction) =>
          renameUnlessTaken(transaction, owner, renamed, event)
        )
      } catch (error) {
        // Two names that differ here can be equal in the database: half a surrogate pair has no UTF-8 encoding.
        if (isUniqueViolation(error, 'Authenticator_accountId_userId_name_key')) {
          return { renamed: false, reason: 'name-taken' }
        }
        throw error
      }
    },

    /**
     * Removes an authenticator and revokes all tokens of the user. Removing the last one turns two-factor off, unless
     * it is required for the user. Removing a pending one only cancels the enrollment and revokes no tokens.
     */
    remove(owner: Owner, id: string, event: SignedAuditEvent): Promise<RemoveOutcome> {
      return prisma.$transaction(async (transaction) => {
        const user = await lockOwner(transaction, owner)
        if (!user) return 'invalid-credential'
        const all = await read(transaction, user, event.occurredAt)
        const authenticator = all.find((each) => each.id === id)
        if (!authenticator) return 'authenticator-not-found'
        if (authenticator.state === 'pending') return cancel(transaction, user, id, event)
        const active = all.filter(({ state }) => state === 'active')
        return active.length === 1
          ? turnOffUnlessRequired(transaction, user, { event, demands })
          : removeOneOfSeveral(transaction, user, authenticator, event)
      })
    }
  }
}

async function renameUnlessTaken(
  transaction: Transaction,
  owner: Owner,
  { id, name }: Pick<Authenticator, 'id' | 'name'>,
  event: SignedAuditEvent
): Promise<RenameOutcome> {
  const user = await lockOwner(transaction, owner)
  if (!user) return { renamed: false, reason: 'invalid-credential' }
  const all = await read(transaction, user, event.occurredAt)
  const authenticator = all.find((each) => each.id === id)
  if (!authenticator) return { renamed: false, reason: 'authenticator-not-found' }
  const others = all.filter((other) => other !== authenticator)
  if (others.some((other) => other.name === name)) return { renamed: false, reason: 'name-taken' }
  await writeName(transaction, user, { ...authenticator, name })
  await writeRecord(transaction, event)
  return { renamed: true, authenticator: { ...authenticator, name } }
}

/** Reads in one statement, so that an authenticator that is being confirmed appears once, as pending or as active. */
function read(
  client: Transaction,
  { accountId, userId }: UserKey,
  now: Date
): Promise<Authenticator[]> {
  return client.$queryRaw<Authenticator[]>`
    SELECT id, name, 'active' AS state, "createdAt", "confirmedAt", "lastUsedAt"
    FROM "Authenticator" WHERE "accountId" = ${accountId}::uuid AND "userId" = ${userId}::uuid
    UNION ALL
    SELECT "authenticatorId", name, 'pending', "createdAt", NULL, NULL
    FROM "Enrollment" WHERE "accountId" = ${accountId}::uuid AND "userId" = ${userId}::uuid
      AND "expiresAt" > ${now}::timestamptz
    ORDER BY "createdAt", id`
}

async function writeName(
  transaction: Transaction,
  { accountId, userId }: UserKey,
  { id, name, state }: Authenticator
): Promise<void> {
  const ofUser = { accountId, userId }
  await (state === 'active'
    ? transaction.authenticator.updateMany({ where: { ...ofUser, id }, data: { name } })
    : transaction.enrollment.updateMany({
        where: { ...ofUser, authenticatorId: id },
        data: { name }
      }))
}

async function cancel(
  transaction: Transaction,
  { accountId, userId }: UserKey,
  authenticatorId: string,
  event: SignedAuditEvent
): Promise<'removed'> {
  await transaction.enrollment.deleteMany({ where: { accountId, userId, authenticatorId } })
  await writeRecord(transaction, event)
  return 'removed'
}

async function removeOneOfSeveral(
  transaction: Transaction,
  user: LockedUser,
  { id, name }: Authenticator,
  event: SignedAuditEvent
): Promise<'removed'> {
  const { accountId, userId } = user
  await transaction.authenticator.deleteMany({ where: { accountId, userId, id } })
  // The devices may have become trusted by a code from the removed authenticator, which may be lost or stolen.
  await forgetDevices(transaction, user)
  // The new epoch revokes earlier tokens. The new version invalidates verdicts on codes that were judged before this
  // change.
  await transaction.user.updateMany({
    where: { accountId, id: userId },
    data: { epoch: { increment: 1 }, codePathVersion: { increment: 1 } }
  })
  const notice = noticeTo(user, event, 'authenticator_removed', { authenticator: name })
  await writeRecord(transaction, event, [notice])
  return 'removed'
}
