// The credentials that each route accepts. This is the contract of the credential matrix, written a second time, by hand.
import type { Scope } from '../../src/core/bearer-keys.ts'

type Fresh = 'second factor' | 'enrolling' | 'recent'

interface Taken {
  operator?: true
  /** An API key needs one of these scopes. */
  scopes?: Scope[]
  step?: 'verify' | 'enroll'
  person?: 'anyone' | 'admin' | 'self' | 'self or admin'
  /** Requires a second factor from the last 600 s. For the first app, a password from the last 600 s is enough. */
  fresh?: Fresh
  /** The rule for users who act on themselves, if it differs. */
  freshForOneself?: Fresh | 'any'
  /** Users cannot do this to themselves. */
  othersOnly?: true
}

const EVERYONE = 'everyone'
const ENROLLING = { step: 'enroll', person: 'anyone', fresh: 'enrolling' } as const
const OWN_AND_FRESH = { person: 'self', fresh: 'second factor' } as const
const OPERATOR = { operator: true } as const
const KEY_MAKERS = { operator: true, scopes: ['keys:write'] } as const satisfies Taken

export const CONTRACT: Record<string, Taken | typeof EVERYONE> = {
  'POST /v1/login': EVERYONE,
  'POST /v1/login/assertion': { scopes: ['login:assert', 'login:assert-sso'] },
  'POST /v1/login/sso': EVERYONE,
  'POST /v1/verify': { step: 'verify', person: 'anyone' },
  'POST /v1/enroll': ENROLLING,
  'POST /v1/enroll/confirm': ENROLLING,
  'GET /v1/users': { scopes: ['users:read'], person: 'admin' },
  'POST /v1/users': { scopes: ['users:write'] },
  'GET /v1/users/:userId': { scopes: ['users:read'], person: 'self or admin' },
  'PATCH /v1/users/:userId': {
    scopes: ['users:write'],
    person: 'self or admin',
    fresh: 'second factor'
  },
  'DELETE /v1/users/:userId': {
    scopes: ['users:write'],
    person: 'admin',
    fresh: 'second factor',
    othersOnly: true
  },
  'GET /v1/users/:userId/authenticators': { person: 'self or admin' },
  'PATCH /v1/users/:userId/authenticators/:authenticatorId': OWN_AND_FRESH,
  'DELETE /v1/users/:userId/authenticators/:authenticatorId': OWN_AND_FRESH,
  'DELETE /v1/users/:userId/two-factor': OWN_AND_FRESH,
  'PUT /v1/users/:userId/two-factor': {
    scopes: ['users:write'],
    person: 'self or admin',
    fresh: 'second factor',
    freshForOneself: 'recent'
  },
  'POST /v1/users/:userId/sign-out': {
    scopes: ['users:write'],
    person: 'self or admin',
    fresh: 'second factor',
    freshForOneself: 'any'
  },
  'GET /v1/users/:userId/devices': { person: 'self or admin' },
  'DELETE /v1/users/:userId/devices/:deviceId': { person: 'self or admin' },
  'GET /v1/users/:userId/sso-identities': { scopes: ['users:read'], person: 'self or admin' },
  'PUT /v1/users/:userId/sso-identities': { scopes: ['users:write'] },
  'DELETE /v1/users/:userId/sso-identities/:identityId': {
    scopes: ['users:write'],
    person: 'self or admin',
    fresh: 'second factor'
  },
  'POST /v1/users/:userId/reset': {
    ...OPERATOR,
    scopes: ['users:reset'],
    person: 'admin',
    fresh: 'second factor'
  },
  'GET /v1/users/:userId/recovery-codes': { person: 'self' },
  'POST /v1/users/:userId/recovery-codes': OWN_AND_FRESH,
  'GET /v1/policy': { scopes: ['policy:read'], person: 'anyone' },
  'PATCH /v1/policy': { scopes: ['policy:write'], person: 'admin', fresh: 'second factor' },
  'POST /v1/policy/preview': { scopes: ['policy:write'], person: 'admin', fresh: 'second factor' },
  'GET /v1/users/:userId/policy': { scopes: ['policy:read'], person: 'self or admin' },
  'PUT /v1/accounts/:accountId/mandate': OPERATOR,
  'POST /v1/accounts': OPERATOR,
  'GET /v1/accounts': OPERATOR,
  'GET /v1/accounts/:accountId': OPERATOR,
  'PATCH /v1/accounts/:accountId': OPERATOR,
  'POST /v1/api-keys': KEY_MAKERS,
  'GET /v1/api-keys': KEY_MAKERS,
  'DELETE /v1/api-keys/:apiKeyId': KEY_MAKERS,
  'GET /v1/audit-events': { scopes: ['audit:read'], person: 'admin' },
  'POST /v1/introspect': { scopes: ['introspect'] },
  'GET /.well-known/jwks.json': EVERYONE,
  'GET /.well-known/oauth-authorization-server': EVERYONE,
  'GET /health/live': EVERYONE,
  'GET /health/ready': EVERYONE,
  'GET /openapi.json': EVERYONE,
  'GET /openapi.yaml': EVERYONE,
  'GET /docs/problems': EVERYONE,
  'GET /docs': EVERYONE,
  'GET /docs/json': EVERYONE,
  'GET /docs/yaml': EVERYONE,
  'GET /docs/static/index.html': EVERYONE,
  'GET /docs/static/swagger-initializer.js': EVERYONE,
  'GET /docs/static/*': EVERYONE
}

/**
 * Requests that need a second scope because of what they name. The path names an admin or a member, and an API key with only
 * the scope of the route is refused.
 */
export const SECOND_SCOPES: {
  request: string
  of?: 'admin' | 'member'
  body?: object
  scopes: [Scope, Scope]
}[] = [
  { request: 'POST /v1/users', body: { role: 'admin' }, scopes: ['users:write', 'admins:write'] },
  ...[
    { of: 'member' as const, body: { role: 'admin' } },
    { of: 'admin' as const, body: { role: 'admin' } },
    { of: 'admin' as const, body: { role: 'member' } },
    { of: 'admin' as const, body: { password: 'another horse, another battery' } },
    { of: 'admin' as const, body: { email: 'taken.over@example.com' } },
    { of: 'admin' as const, body: { disabled: true } },
    { of: 'admin' as const, body: { disabled: false } },
    { of: 'admin' as const, body: { externalId: 'crm-1', disabled: true } }
  ].map((change) => ({
    ...change,
    request: 'PATCH /v1/users/:userId',
    scopes: ['users:write', 'admins:write'] as [Scope, Scope]
  })),
  {
    request: 'DELETE /v1/users/:userId',
    of: 'admin',
    scopes: ['users:write', 'admins:write']
  },
  ...['PATCH /v1/policy', 'POST /v1/policy/preview'].flatMap((request) =>
    [{ mode: 'off' }, { issuer: 'https://login.evil.example' }, { clientId: 'evil' }].map(
      (sso) => ({ request, body: { sso }, scopes: ['policy:write', 'sso:write'] as [Scope, Scope] })
    )
  )
]

/** The properties of a bearer on which the contract depends. */
export type Bearer =
  | { kind: 'invalid' }
  | { kind: 'operator' }
  | { kind: 'key'; scopes: readonly Scope[] }
  | { kind: 'step'; purpose: 'verify' | 'enroll' }
  | {
      kind: 'person'
      role: 'member' | 'admin'
      secondsAgo: number
      hasSecondFactor: boolean
      hasAuthenticator: boolean
    }

type Person = Extract<Bearer, { kind: 'person' }>

const INVALID = '401 invalid-credential'
export const CHALLENGE =
  'Bearer error="insufficient_user_authentication", acr_values="urn:twostep:acr:2", max_age=600'

/** Returns the expected verdict. The order is: 401, then 403 for kind and scope, 403 for role, 401 for freshness. */
export function expected(bearer: Bearer, taken: Taken | typeof EVERYONE, isOwn: boolean): string {
  if (taken === EVERYONE) return 'admitted'
  switch (bearer.kind) {
    case 'invalid':
      return INVALID
    case 'step':
      return taken.step === bearer.purpose ? 'admitted' : INVALID
    case 'operator':
      return taken.operator ? 'admitted' : '403 insufficient-scope'
    case 'key':
      return taken.scopes?.some((scope) => bearer.scopes.includes(scope))
        ? 'admitted'
        : '403 insufficient-scope'
    case 'person':
      return expectedOfPerson(bearer, taken, isOwn)
  }
}

function expectedOfPerson(person: Person, taken: Taken, isOwn: boolean): string {
  if (!taken.person) return '403 insufficient-scope'
  const isAdmin = person.role === 'admin'
  const isHolder = {
    anyone: true,
    admin: isAdmin,
    self: isOwn,
    'self or admin': isOwn || isAdmin
  }[taken.person]
  if (!isHolder) return '403 limited-access'
  const fresh = (isOwn && taken.freshForOneself) || taken.fresh
  if (fresh && fresh !== 'any' && !isFreshFor(fresh, person)) {
    const otherwise = person.secondsAgo <= 600 ? 'enroll' : 'login'
    return `401 step-up-required ${person.hasAuthenticator ? 'verify' : otherwise}`
  }
  return taken.othersOnly && isOwn ? '403 limited-access' : 'admitted'
}

function isFreshFor(
  purpose: Fresh,
  { secondsAgo, hasSecondFactor, hasAuthenticator }: Person
): boolean {
  if (secondsAgo > 600) return false
  return hasSecondFactor || purpose === 'recent' || (purpose === 'enrolling' && !hasAuthenticator)
}
