// Scopes that a request needs in addition to the one of its route, because of what its body names.
import type { Scope } from '../core/bearer-keys.ts'
import type { Among } from '../data/sign-in/user-lock.ts'
import type { Credential } from '../plugins/credentials.ts'
import { Problem } from '../wire/problem.ts'

/** Returns whether an API key has the scope. Users and the operator have no scopes: their route and role decide. */
export function hasScope(credential: Credential, scope: Scope): boolean {
  return credential.kind !== 'apiKey' || credential.scopes.includes(scope)
}

/** Returns on whom the caller may act in a way that takes over a user. An API key needs `admins:write` for admins. */
export function amongOf(credential: Credential): Among {
  return hasScope(credential, 'admins:write') ? 'everyone' : 'members'
}

/** Throws `insufficient-scope` if the caller is an API key that lacks one of the scopes. */
export function requireScopes(credential: Credential, scopes: readonly Scope[]): void {
  if (scopes.every((scope) => hasScope(credential, scope))) return
  throw new Problem('insufficient-scope')
}
