// Changes of a user: which fields each caller may change, and what the audit trail says about a change.
import { type Static, Type } from 'typebox'
import type { AuditDetails } from '../../core/audit/events.ts'
import type { Among } from '../../data/sign-in/user-lock.ts'
import { invalidMember, Problem } from '../../wire/problem.ts'
import { Email, ExternalId, Nullable, Password, Role } from '../../wire/scalars.ts'
import { hasScope } from '../scopes.ts'
import { type Caller, isSelf } from './target-user.ts'

export const UserChangeBody = Type.Object(
  {
    email: Type.Optional(Email),
    password: Type.Optional(Password),
    currentPassword: Type.Optional(Password),
    role: Type.Optional(Role),
    disabled: Type.Optional(Type.Boolean()),
    externalId: Type.Optional(Nullable(ExternalId))
  },
  { title: 'UserChange', additionalProperties: false, minProperties: 1 }
)
export type UserChangeBody = Static<typeof UserChangeBody>

/** Throws if the body names a field that the caller may not change. Role and freshness were checked before the body. */
export function requireFieldsAllowed(
  credential: Caller,
  userId: string,
  body: UserChangeBody
): void {
  const allowed = fieldsAllowed(credential, userId)
  const named = Object.keys(body) as (keyof UserChangeBody)[]
  const refused = named.find((field) => !allowed.includes(field))
  if (refused === undefined) return
  if (credential.kind === 'accessToken') throw new Problem('limited-access')
  throw invalidMember(`/${refused}`, 'is only for users who change their own password')
}

function fieldsAllowed(credential: Caller, userId: string): (keyof UserChangeBody)[] {
  if (credential.kind === 'apiKey') return ['email', 'password', 'role', 'disabled', 'externalId']
  return isSelf(credential, userId) ? ['password', 'currentPassword'] : ['role', 'disabled']
}

/** The fields by which a caller takes over an admin, or removes one. A key needs `admins:write` to change them. */
const ADMIN_FIELDS: readonly (keyof UserChangeBody)[] = ['role', 'password', 'email', 'disabled']

/**
 * Returns whom the caller may change in this way. Throws `insufficient-scope` if an API key without `admins:write` names the
 * role `admin`.
 */
export function rangeOf(credential: Caller, body: UserChangeBody): Among {
  if (hasScope(credential, 'admins:write')) return 'everyone'
  if (body.role === 'admin') throw new Problem('insufficient-scope')
  return ADMIN_FIELDS.some((field) => body[field] !== undefined) ? 'members' : 'everyone'
}

/** Returns the audit details of a change: the new role and state, and only the names of the other fields. */
export function changeDetails({ role, disabled, ...body }: UserChangeBody): AuditDetails {
  const { currentPassword: _proof, ...others } = body
  return {
    ...(role === undefined ? {} : { role }),
    ...(disabled === undefined ? {} : { disabled }),
    ...(Object.keys(others).length === 0 ? {} : { others: Object.keys(others) })
  }
}
