// Reads what a sign-in needs to know about a user in one statement: identity, policy, failed guesses and locks,
// authenticators, and the step token.
import type { Support } from '../../core/support.ts'
import type { PrismaClient } from '../../generated/prisma/client.ts'
import { inBatches } from '../engine/batches.ts'
import { byPlace, type Query } from '../engine/statements.ts'
import type { DemandsReader } from '../policy/demands.ts'
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

/** Returns whether the user exists in this account, also if they are disabled. */
export async function isUser(
  prisma: PrismaClient,
  { accountId, userId }: UserKey
): Promise<boolean> {
  return (await prisma.user.count({ where: { accountId, id: userId } })) === 1
}

/** An account with the contact that helps its users. */
type LoginAccount = NamedAccount & { support: Support | null }

/** The account and the user that a sign-in by password names; null if they do not exist. */
export interface LoginCandidate {
  account: LoginAccount | null
  user: { subject: Subject; passwordHash: string | null } | null
}

export type Subjects = ReturnType<typeof createSubjects>

export function createSubjects(query: Query, demands: DemandsReader) {
  const rowOf = inBatches(async (keys: readonly SubjectKey[]) => {
    const found = await query<{ place: number; subject: SubjectRow }, typeof keys>(byKeys, keys)
    return byPlace(keys, found).map((row) => row?.subject ?? null)
  })

  async function find(
    { accountId, userId }: UserKey,
    jti: string | null = null
  ): Promise<Subject | null> {
    const row = await rowOf({ accountId, userId, jti })
    return row && asSubject(row, demands)
  }

  return {
    /** Returns a user in any state, or null. With the `jti` of a step token, also reads the attempts made under it. */
    find,

    /**
     * Returns the owner of a token, or null if the token was revoked: the user was deleted or disabled, or their epoch
     * is no longer that of the token. Role and state come from the row, never from the token, so a reset revokes tokens
     * immediately.
     */
    async findTokenOwner(
      { account, sub, epoch }: { account: string; sub: string; epoch: number },
      jti: string | null = null
    ): Promise<Subject | null> {
      const subject = await find({ accountId: account, userId: sub }, jti)
      return subject && !subject.isDisabled && subject.epoch === epoch ? subject : null
    },

    /** Returns the account's user with that address, or null. For a back end that asserts a sign-in. */
    async findByEmail(accountId: string, email: string): Promise<Subject | null> {
      const [found] = await query<{ subject: SubjectRow }, EmailKey>(byEmail, { accountId, email })
      return found ? asSubject(found.subject, demands) : null
    },

    /**
     * Finds the account that a sign-in by password names, and its user with that address and the hash of their
     * password. Runs the same statement whether they exist or not, so that its time reveals next to nothing.
     */
    async findForLogin(key: LoginKey): Promise<LoginCandidate> {
      const [row] = await query<LoginRow, LoginKey>(byLogin, key)
      const { account: named = null, subject: found = null } = row ?? {}
      const account = named && { id: named.id, sso: named.sso, support: demands.supportOf(named) }
      if (!found) return { account, user: null }
      const { passwordHash } = found
      return { account, user: { subject: asSubject(found, demands), passwordHash } }
    }
  }
}
