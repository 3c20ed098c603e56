// Two-factor that is required of one user, in addition to the account's policy and the mandate: by the user, by an admin or
// API key of the account, or because a reset took the user's authenticators away.

/** The source of a requirement. An API key counts as an admin. */
export type Requirer = 'self' | 'admin'

/** The stored requirement of a user. The two parts are separate, so that a reset does not end a requirement. */
export interface StoredRequirement {
  /** Null for no requirement, and then `requiredSince` is null too. */
  requiredBy: Requirer | null
  requiredSince: Date | null
  /** When a reset made a new set-up necessary; null if none is necessary. */
  resetPendingSince: Date | null
}

/** The requirement that is in force for a user. */
export interface UserRequirement {
  by: 'reset' | Requirer
  since: Date
}

/**
 * Returns the requirement in force, or null. A pending reset comes first: it needs a set-up, and cannot be withdrawn. It
 * ends with the first authenticator, also if a replica of an earlier release confirmed it and left the date in place.
 */
export function requirementOf(
  { requiredBy, requiredSince, resetPendingSince }: StoredRequirement,
  hasAuthenticator: boolean
): UserRequirement | null {
  if (resetPendingSince && !hasAuthenticator) return { by: 'reset', since: resetPendingSince }
  return requiredBy && requiredSince && { by: requiredBy, since: requiredSince }
}

/** `unchanged`: the requirement is already as requested. */
export type RequirementChange =
  | Pick<StoredRequirement, 'requiredBy' | 'requiredSince'>
  | 'unchanged'
  | 'policy-requires-authenticator'

interface RequirementRequest {
  required: boolean
  as: Requirer
  now: Date
}

/**
 * Decides what a request to require two-factor of a user, or to withdraw the requirement, changes. Users withdraw only
 * their own requirement. An admin's requirement takes the place of the user's own, never the other way round.
 */
export function changeRequirement(
  stored: StoredRequirement,
  hasAuthenticator: boolean,
  { required, as, now }: RequirementRequest
): RequirementChange {
  const { requiredBy } = stored
  if (required) {
    const isCovered = requiredBy === as || requiredBy === 'admin'
    return isCovered ? 'unchanged' : { requiredBy: as, requiredSince: now }
  }
  const inForce = requirementOf(stored, hasAuthenticator)
  if (as === 'self' && inForce && inForce.by !== 'self') return 'policy-requires-authenticator'
  return requiredBy === null ? 'unchanged' : { requiredBy: null, requiredSince: null }
}
