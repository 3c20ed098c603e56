// A user's authenticators as their owner keeps them: listed, named, removed.
import type { SignedAuditEvent } from '../../core/audit/events.ts'
import { noticeTo } from '../../core/mail/notices.ts'
import type { PrismaClient } from '../../generated/prisma/client.ts'
import { isUniqueViolation } from '../engine/conflicts.ts'
import { isUser, type UserKey } from '../sign-in/subjects.ts'
import { forgetDevices } from '../sign-in/trusted-devices.ts'
import { type Transaction, writeRecord } from '../trail/act-records.ts'
import {
  type LockedUser,
  lockLiving,
  type Owner,
  type TurnOffOutcome,
  turnOffUnlessRequired
} from './two-factor.ts'

export interface Authenticator {
  id: string
  name: string
  /** `pending`: an enrolment that waits for its first code. */
  state: 'active' | 'pending'
  createdAt: Date
  confirmedAt: Date | null
  lastUsedAt: Date | null
}

export type RenameOutcome =
  | { renamed: true; authenticator: Authenticator }
  | { renamed: false; reason: 'dead-credential' | 'authenticator-not-found' | 'name-taken' }

export type RemoveOutcome = TurnOffOutcome | 'authenticator-not-found'

export type Authenticators = ReturnType<typeof createAuthenticators>

/** `mandateFrom` is the deployment's own mandate; null for none. */
export function createAuthenticators(prisma: PrismaClient, mandateFrom: Date | null) {
  return {
    /** The active ones and the one that waits for its first code, oldest first. Null: no such user in this account. */
    async list(user: UserKey, now: Date): Promise<Authenticator[] | null> {
      return (await isUser(prisma, user)) ? read(prisma, user, now) : null
    },

    /** Gives a name that no other authenticator of the user has. No token dies of it. */
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
        // Two names that differ here can be one where they are stored: half a surrogate pair has no UTF-8.
        if (isUniqueViolation(error, 'Authenticator_accountId_userId_name_key')) {
          return { renamed: false, reason: 'name-taken' }
        }
        throw error
      }
    },

    /**
     * Removes an authenticator and kills every token; with the last one two-factor is off, unless it is required of
     * the user. One that waits for its first code is only cancelled: no token dies of that.
     */
    remove(owner: Owner, id: string, event: SignedAuditEvent): Promise<RemoveOutcome> {
      return prisma.$transaction(async (transaction) => {
        const user = await lockLiving(transaction, owner)
        if (!user) return 'dead-credential'
        const all = await read(transaction, user, event.occurredAt)
        const authenticator = all.find((each) => each.id === id)
        if (!authenticator) return 'authenticator-not-found'
        if (authenticator.state === 'pending') return cancel(transaction, user, id, event)
        const active = all.filter(({ state }) => state === 'active')
        return active.length === 1
          ? turnOffUnlessRequired(transaction, user, { event, mandateFrom })
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
  const user = await lockLiving(transaction, owner)
  if (!user) return { renamed: false, reason: 'dead-credential' }
  const all = await read(transaction, user, event.occurredAt)
  const authenticator = all.find((each) => each.id === id)
  if (!authenticator) return { renamed: false, reason: 'authenticator-not-found' }
  const others = all.filter((other) => other !== authenticator)
  if (others.some((other) => other.name === name)) return { renamed: false, reason: 'name-taken' }
  await writeName(transaction, user, { ...authenticator, name })
  await writeRecord(transaction, event)
  return { renamed: true, authenticator: { ...authenticator, name } }
}

/** One statement, so that an authenticator that is just being confirmed is seen once, as the one or as the other. */
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
  // Whatever was trusted may be so by the word of the one that is gone: lost, or in another's hands.
  await forgetDevices(transaction, user)
  // The epoch ends the tokens of before, the version the verdicts that are being reached on what was there before.
  await transaction.user.updateMany({
    where: { accountId, id: userId },
    data: { epoch: { increment: 1 }, codePathVersion: { increment: 1 } }
  })
  const notice = noticeTo(user, event, 'authenticator_removed', { authenticator: name })
  await writeRecord(transaction, event, [notice])
  return 'removed'
}
