// The user whom a request is about.
import type { UserKey } from '../../data/sign-in/subjects.ts'
import type { Credential } from '../../plugins/credentials.ts'
import { Problem } from '../../wire/problem.ts'

export type Caller = Extract<Credential, { kind: 'apiKey' | 'accessToken' }>

/** Returns the user whom the path names, in the account of the caller. Throws if an API key names `me`. */
export function targetUser(credential: Caller, userId: string): UserKey {
  const accountId = credential.accountId
  if (userId !== 'me') return { accountId, userId }
  if (credential.kind === 'apiKey') throw new Problem('user-not-found')
  return { accountId, userId: credential.subject.userId }
}

/** Returns whether the caller is this user. An API key is never a user. */
export function isSelf(credential: Caller, userId: string): boolean {
  return credential.kind === 'accessToken' && credential.subject.userId === userId
}
