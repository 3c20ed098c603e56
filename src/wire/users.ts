// Users, their authenticators and their trusted devices, as several routes return them.
import { type Static, Type } from 'typebox'
import { USER } from './examples.ts'
import { refTo } from './references.ts'
import { AuthenticatorName, Email, ExternalId, Instant, Nullable, Role, Uuid } from './scalars.ts'
import { DecisionReason } from './sign-in.ts'

/** The path of one user. `me` is the user of the access token. */
export const UserParams = Type.Object({
  userId: Type.Union([Uuid, Type.Literal('me')], {
    description: 'The id of a user of the account, or `me` for the user of the access token.'
  })
})

export const Requirement = Type.Object(
  {
    by: Type.Enum(['reset', 'self', 'admin'], {
      description:
        '`reset`: a reset made a new set-up necessary. `self`: the user requires it. `admin`: an admin or an API key of the account requires it.'
    }),
    since: Instant
  },
  {
    $id: 'Requirement',
    description:
      'Two-factor is required of this user alone, whatever the policy says. After a reset, an earlier requirement is shown again once the user has set up an authenticator.'
  }
)

export type Requirement = Static<typeof Requirement>

export const User = Type.Object(
  {
    id: Uuid,
    email: Email,
    role: Role,
    disabled: Type.Boolean(),
    externalId: Nullable(ExternalId),
    createdAt: Instant,
    lastSignInAt: Nullable(Instant),
    twoFactor: Type.Object({
      state: Type.Enum(['enabled', 'disabled', 'pending'], {
        description:
          '`pending`: an enrollment waits for its first code. `enabled` includes locked users.'
      }),
      since: Nullable(Instant),
      lockedUntil: Nullable(Instant),
      codesDisabledAt: Type.Union([Instant, Type.Null()], {
        description:
          'Set after too many wrong codes in a row. No code is accepted until a reset or a sign-in with a recovery code.'
      }),
      authenticators: Type.Integer({ minimum: 0 }),
      recoveryCodesRemaining: Type.Integer({ minimum: 0 }),
      required: Type.Boolean({
        description:
          'Whether two-factor is required for this user, by the mandate, the policy or `requirement`.'
      }),
      requirement: Nullable(refTo(Requirement)),
      exempt: Type.Boolean({ description: 'Whether single sign-on replaces the code.' }),
      reason: DecisionReason
    })
  },
  { $id: 'User', examples: [USER] }
)

export type User = Static<typeof User>

export const Authenticator = Type.Object(
  {
    id: Uuid,
    name: AuthenticatorName,
    state: Type.Enum(['active', 'pending'], {
      description: '`pending`: the set-up waits for the first code.'
    }),
    createdAt: Instant,
    confirmedAt: Nullable(Instant),
    lastUsedAt: Nullable(Instant)
  },
  { $id: 'Authenticator' }
)

export type Authenticator = Static<typeof Authenticator>

export const TrustedDevice = Type.Object(
  { id: Uuid, createdAt: Instant, lastUsedAt: Nullable(Instant), expiresAt: Instant },
  { $id: 'TrustedDevice' }
)

export type TrustedDevice = Static<typeof TrustedDevice>
