// Whom a request about a user is about.
import type { UserKey } from '../../data/sign-in/subjects.ts'
import type { Credential } from '../../plugins/credentials.ts'
import { Problem } from '../../wire/problem.ts'

export type Caller = Extract<Credential, { kind: 'apiKey' | 'accessToken' }>

/** The user that a path names, in the caller's own account; `me` is nobody to an API key. */
export function targetUser(credential: Caller, userId: string): UserKey {
  const accountId = credential.accountId
  if (userId !== 'me') return { accountId, userId }
  if (credential.kind === 'apiKey') throw new Problem('user-not-found')
  return { accountId, userId: credential.subject.userId }
}

export function isSelf(credential: Caller, userId: string): boolean {
  return credential.kind === 'accessToken' && credential.subject.userId === userId
}
