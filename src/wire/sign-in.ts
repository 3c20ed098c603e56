// The result of a step of a sign-in, which all routes of the sign-in return.
import { type Static, Type } from 'typebox'
import { AUTHENTICATED, ENROLLMENT_REQUIRED, VERIFICATION_REQUIRED } from './examples.ts'
import { refTo } from './references.ts'
import { Email, Instant, Nullable, Role, Uuid } from './scalars.ts'

export const DecisionReason = Type.Enum(
  [
    'not_required',
    'sso_supersedes',
    'sso_link',
    'trusted_device',
    'user_enabled',
    'user_required',
    'reset_pending',
    'account_required',
    'mandated',
    'grace_period',
    'code_verified',
    'recovery_code_verified',
    'enrolled'
  ],
  {
    description:
      'The reason for the decision. `user_required`: the user or an admin requires two-factor of this user. `reset_pending`: a reset made a new set-up necessary. Clients must tolerate reasons that they do not know.'
  }
)

const AccessTokenMembers = {
  accessToken: Type.String({
    description: 'An access token (RFC 9068, ES256). Verify it with the keys of the JWKS.'
  }),
  tokenType: Type.Literal('Bearer'),
  expiresIn: Type.Integer({
    description: 'The lifetime of the access token in seconds, as in RFC 6749.'
  })
}

export const SignInUser = Type.Object(
  { id: Uuid, accountId: Uuid, email: Email, role: Role },
  { $id: 'SignInUser' }
)

export const Authenticated = Type.Object(
  {
    status: Type.Literal('authenticated'),
    reason: DecisionReason,
    ...AccessTokenMembers,
    user: refTo(SignInUser),
    deviceToken: Type.Optional(
      Type.String({
        description:
          'The token of the trusted device. Store it for the next sign-in on this device, in place of the token that was sent.'
      })
    ),
    deviceTokenExpiresAt: Type.Optional(Instant),
    enrollment: Type.Optional(
      Type.Object(
        { recommended: Type.Literal(true), requiredFrom: Nullable(Instant) },
        {
          description:
            'Two-factor becomes mandatory for this user at `requiredFrom`. Offer the set-up now.'
        }
      )
    ),
    recoveryCodesRemaining: Type.Optional(Type.Integer({ minimum: 0 })),
    recoveryCodes: Type.Optional(
      Type.Array(Type.String(), {
        description:
          'Ten recovery codes, only with the first authenticator. They are never shown again.'
      })
    )
  },
  { $id: 'Authenticated', examples: [AUTHENTICATED] }
)

export const VerificationRequired = Type.Object(
  {
    status: Type.Literal('verification_required'),
    reason: DecisionReason,
    stepToken: Type.String({
      description: 'A token for `POST /v1/verify`. Its first success uses it up.'
    }),
    expiresInSeconds: Type.Integer(),
    methods: Type.Array(Type.Enum(['totp', 'recovery_code']))
  },
  { $id: 'VerificationRequired', examples: [VERIFICATION_REQUIRED] }
)

export const EnrollmentRequired = Type.Object(
  {
    status: Type.Literal('enrollment_required'),
    reason: DecisionReason,
    stepToken: Type.String({
      description: 'A token for `POST /v1/enroll` and `POST /v1/enroll/confirm`.'
    }),
    expiresInSeconds: Type.Integer()
  },
  { $id: 'EnrollmentRequired', examples: [ENROLLMENT_REQUIRED] }
)

export type SignIn =
  | Static<typeof Authenticated>
  | Static<typeof VerificationRequired>
  | Static<typeof EnrollmentRequired>

export const SignIn = Type.Unsafe<SignIn>({
  $id: 'SignIn',
  type: 'object',
  examples: [VERIFICATION_REQUIRED, ENROLLMENT_REQUIRED, AUTHENTICATED],
  oneOf: [refTo(Authenticated), refTo(VerificationRequired), refTo(EnrollmentRequired)],
  discriminator: {
    propertyName: 'status',
    mapping: {
      authenticated: '#/components/schemas/Authenticated',
      verification_required: '#/components/schemas/VerificationRequired',
      enrollment_required: '#/components/schemas/EnrollmentRequired'
    }
  }
})
