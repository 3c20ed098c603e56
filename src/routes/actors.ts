// The user who acts, for the check in the write: a token and a role can be lost while a request waits.
import type { Owner } from '../data/sign-in/user-lock.ts'
import type { Credential } from '../plugins/credentials.ts'
import { Problem, revokedCredential } from '../wire/problem.ts'
import type { ProblemCode } from '../wire/problems.ts'

/** Returns the user who acts, with the epoch of their token; null for a key. */
export function actorOf(credential: Credential): Owner | null {
  return credential.kind === 'accessToken' ? credential.subject : null
}

/** Returns the problem of an act that the write refused. */
export function refusedAct(reason: ProblemCode): Problem {
  return reason === 'invalid-credential' ? revokedCredential() : new Problem(reason)
}
