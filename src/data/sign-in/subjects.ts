// The user as a sign-in sees one: identity, policy, code path, authenticators and the step token in one read.
import type { PrismaClient } from '../../generated/prisma/client.ts'
import { inBatches } from '../engine/batches.ts'
import { byPlace, type Query } from '../engine/statements.ts'
import {
  asSubject,
  byEmail,
  byKeys,
  byLogin,
  type EmailKey,
  type LoginKey,
  type LoginRow,
  type NamedAccount,
  type Subject,
  type SubjectKey,
  type SubjectRow,
  type UserKey
} from './subject-rows.ts'

export type { Subject, UserKey } from './subject-rows.ts'

/** Whether there is such a user in this account, whatever their state. */
export async function isUser(
  prisma: PrismaClient,
  { accountId, userId }: UserKey
): Promise<boolean> {
  return (await prisma.user.count({ where: { accountId, id: userId } })) === 1
}

/** Whom a sign-in by password may be of; null for what there is none of. */
export interface LoginCandidate {
  account: NamedAccount | null
  user: { subject: Subject; passwordHash: string | null } | null
}

export type Subjects = ReturnType<typeof createSubjects>

/** `mandateFrom` is the deployment's own mandate; null for none. */
export function createSubjects(query: Query, mandateFrom: Date | null) {
  const rowOf = inBatches(async (keys: readonly SubjectKey[]) => {
    const found = await query<{ place: number; subject: SubjectRow }, typeof keys>(byKeys, keys)
    return byPlace(keys, found).map((row) => row?.subject ?? null)
  })

  async function find(
    { accountId, userId }: UserKey,
    jti: string | null = null
  ): Promise<Subject | null> {
    const row = await rowOf({ accountId, userId, jti })
    return row && asSubject(row, mandateFrom)
  }

  return {
    /** A user, whatever their state. With the `jti` of a step token, what has happened under it too. */
    find,

    /**
     * The owner of a token that is not dead: null when the user is gone, disabled, or of another epoch than the
     * token. Role and state come from the row, never from the token, so a reset kills tokens at once.
     */
    async findLiving(
      { account, sub, epoch }: { account: string; sub: string; epoch: number },
      jti: string | null = null
    ): Promise<Subject | null> {
      const subject = await find({ accountId: account, userId: sub }, jti)
      return subject && !subject.isDisabled && subject.epoch === epoch ? subject : null
    },

    /** The account's user of that address, for a back end that asserts who has signed in. */
    async findByEmail(accountId: string, email: string): Promise<Subject | null> {
      const [found] = await query<{ subject: SubjectRow }, EmailKey>(byEmail, { accountId, email })
      return found ? asSubject(found.subject, mandateFrom) : null
    },

    /**
     * The account that is named at a sign-in by password, with its doors, and its user of that address with the
     * password's hash. The same statement for whoever there is or is not, so that its time tells next to nothing.
     */
    async findForLogin(key: LoginKey): Promise<LoginCandidate> {
      const [row] = await query<LoginRow, LoginKey>(byLogin, key)
      const { account = null, subject: found = null } = row ?? {}
      if (!found) return { account, user: null }
      const { passwordHash } = found
      return { account, user: { subject: asSubject(found, mandateFrom), passwordHash } }
    }
  }
}
