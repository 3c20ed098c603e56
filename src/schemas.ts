// Wire vocabulary that several routes share. Named objects ($id) become components of openapi.yaml.
import { type Static, Type } from 'typebox'
import { SCOPES } from './core/bearer-keys.ts'
import { type PageRequest, readPageRequest } from './core/pages.ts'
import { isPolicyLocked, type Mandate } from './core/policy.ts'
import { invalidMember } from './problems.ts'

/** Refuses NUL, which PostgreSQL text can't hold, and the other control characters, which no name needs. */
const PRINTABLE = '^[^\\u0000-\\u001f\\u007f]*$'

// One spelling, since ids are compared as text too: in capitals, an admin's own id would not be their own.
export const Uuid = Type.String({
  format: 'uuid',
  pattern: '^[0-9a-f-]*$',
  maxLength: 36,
  examples: ['0198c0de-7a51-7cc2-9a3b-5b1d0c4f2e11']
})
export const Instant = Type.String({ format: 'date-time', examples: ['2026-01-05T09:00:00.000Z'] })
export const Nullable = <Schema extends Parameters<typeof Type.Union>[0][number]>(schema: Schema) =>
  Type.Union([schema, Type.Null()])

export const Slug = Type.String({ pattern: '^[a-z0-9-]{2,63}$', examples: ['acme'] })
export const Name = Type.String({
  minLength: 1,
  maxLength: 100,
  pattern: PRINTABLE,
  examples: ['Acme Inc.']
})
export const AuthenticatorName = Type.String({
  minLength: 1,
  maxLength: 50,
  pattern: PRINTABLE,
  examples: ['Phone']
})
export const Email = Type.String({
  format: 'email',
  maxLength: 254,
  description: 'Upper and lower case are the same.',
  examples: ['ada@example.com']
})
/** Long enough for any pass phrase, short enough to bound the hashing; its strength is judged apart. */
export const Password = Type.String({
  minLength: 1,
  maxLength: 1024,
  pattern: '^[^\\u0000]*$',
  examples: ['correct horse battery staple']
})
export const ExternalId = Type.String({
  minLength: 1,
  maxLength: 255,
  pattern: PRINTABLE,
  examples: ['crm-4711']
})
export const SearchText = Type.String({ minLength: 1, maxLength: 100, pattern: PRINTABLE })
export const Code = Type.String({
  pattern: '^[0-9]{6}$',
  description: 'The six digits that the authenticator app shows now.',
  examples: ['123456']
})
export const RecoveryCode = Type.String({
  minLength: 1,
  maxLength: 64,
  pattern: '^[A-Za-z0-9 -]+$',
  description: 'Case, spaces and hyphens do not count.',
  examples: ['4J7K-2M9P-XQ3R-8T5V-W1YZ-6ABC']
})
/** The same, and something to be read. */
const WORDS = '^(?=.*\\S)[^\\u0000-\\u001f\\u007f]*$'

/** Why somebody acts on somebody else, in their own words; kept with the act. */
export const GivenReason = Type.String({
  minLength: 1,
  maxLength: 500,
  pattern: WORDS,
  examples: ['Lost phone, identified in person']
})
export const Ticket = Type.String({
  minLength: 1,
  maxLength: 100,
  pattern: WORDS,
  description: 'The support case behind the act; required with the operator key.',
  examples: ['SUP-20417']
})
export const DeviceToken = Type.String({ minLength: 1, maxLength: 512, pattern: PRINTABLE })
export const Role = Type.Enum(['member', 'admin'])
export const TwoFactorPolicy = Type.Enum(['optional', 'required'])

/** The operator's mandate as it binds an account. */
export const MandateAnswer = Type.Object({
  locked: Type.Boolean({
    description: "Whether it holds now, and the account's switch is locked."
  }),
  requiredFrom: Nullable(Instant),
  reason: Nullable(Type.String()),
  source: Type.Unsafe<'account' | 'deployment' | null>({
    type: ['string', 'null'],
    enum: ['account', 'deployment', null],
    description: 'Whom it was made for; null where there is none.'
  })
})

export function mandateAnswer(mandate: Mandate | null, now: Date): Static<typeof MandateAnswer> {
  return {
    locked: isPolicyLocked({ mandate, now }),
    requiredFrom: mandate?.requiredFrom.toISOString() ?? null,
    reason: mandate?.reason ?? null,
    source: mandate?.source ?? null
  }
}

export const Audience = Type.String({
  minLength: 1,
  maxLength: 255,
  pattern: '^[\\u0021-\\u007e]+$',
  description: 'The `aud` by which the account’s own API knows its tokens.',
  examples: ['https://api.acme.example']
})
export const ScopeList = Type.Array(Type.Enum([...SCOPES]), { minItems: 1, uniqueItems: true })

/** The path of one user; `me` is the owner of an access token. */
export const UserParams = Type.Object({
  userId: Type.Union([Uuid, Type.Literal('me')], {
    description: 'A user of the account; `me` with an access token.'
  })
})

const PAGE_LIMIT_DEFAULT = 50

export const PageQuery = Type.Object(
  {
    // No `default` keyword: generated clients take a parameter that has one for one that must be given.
    limit: Type.Optional(
      Type.Integer({
        minimum: 1,
        maximum: 200,
        description: `Items on a page; ${PAGE_LIMIT_DEFAULT} unless told.`
      })
    ),
    cursor: Type.Optional(
      Type.String({ maxLength: 200, description: '`nextCursor` of the page before.' })
    )
  },
  { additionalProperties: false }
)

/** The page that a list's query asks for. Throws `invalid-request` for a cursor that we never made. */
export function pageRequestOf(query: Static<typeof PageQuery>, idForm: RegExp): PageRequest {
  const { limit = PAGE_LIMIT_DEFAULT, ...place } = query
  // Ajv reads 1e999 as an integer, an infinite one, which no maximum stops then.
  if (!Number.isFinite(limit)) throw invalidMember('/limit', 'must be <= 200')
  const page = readPageRequest({ limit, ...place }, idForm)
  if (page) return page
  throw invalidMember('/cursor', 'must be a nextCursor of this list')
}

/** In UTC, the database stores no year 0, and its client can't read a year of five digits back. */
const FIRST_YEAR = 1
const LAST_YEAR = 9999

/**
 * The instant that a member names. Throws `invalid-request` where its form is right and there is none (a leap second),
 * or none that can be kept: in the first and the last year, offsets lead out of what can.
 */
export function instantOf(text: string, pointer: string): Date {
  const at = new Date(text)
  const year = at.getUTCFullYear()
  if (year >= FIRST_YEAR && year <= LAST_YEAR) return at
  throw invalidMember(pointer, 'must be an instant such as 2026-01-05T09:00:00.000Z')
}

export const NextCursor = Nullable(Type.String())

export const DecisionReason = Type.Enum(
  [
    'not_required',
    'sso_supersedes',
    'trusted_device',
    'user_enabled',
    'account_required',
    'mandated',
    'grace_period',
    'code_verified',
    'recovery_code_verified',
    'enrolled'
  ],
  { description: 'Why the decision fell so.' }
)

const AccessTokenMembers = {
  accessToken: Type.String({
    description: 'RFC 9068, ES256; verify it with the keys of the JWKS.'
  }),
  tokenType: Type.Literal('Bearer'),
  expiresIn: Type.Integer({ description: 'Seconds, as in RFC 6749.' })
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
    user: Type.Ref('SignInUser'),
    deviceToken: Type.Optional(
      Type.String({
        description: 'Keep it for the next sign-in on this device, in the place of the one sent.'
      })
    ),
    deviceTokenExpiresAt: Type.Optional(Instant),
    enrollment: Type.Optional(
      Type.Object(
        { recommended: Type.Literal(true), requiredFrom: Nullable(Instant) },
        { description: 'Two-factor will be required of this user: offer the set-up now.' }
      )
    ),
    recoveryCodesRemaining: Type.Optional(Type.Integer({ minimum: 0 })),
    recoveryCodes: Type.Optional(
      Type.Array(Type.String(), {
        description: 'Ten, with the first authenticator only; never shown again.'
      })
    )
  },
  { $id: 'Authenticated' }
)

export const VerificationRequired = Type.Object(
  {
    status: Type.Literal('verification_required'),
    reason: DecisionReason,
    stepToken: Type.String({ description: 'Good for `POST /v1/verify`, once.' }),
    expiresInSeconds: Type.Integer(),
    methods: Type.Array(Type.Enum(['totp', 'recovery_code']))
  },
  { $id: 'VerificationRequired' }
)

export const EnrollmentRequired = Type.Object(
  {
    status: Type.Literal('enrollment_required'),
    reason: DecisionReason,
    stepToken: Type.String({ description: 'Good for `POST /v1/enroll` and `/v1/enroll/confirm`.' }),
    expiresInSeconds: Type.Integer()
  },
  { $id: 'EnrollmentRequired' }
)

type WithoutRefs<Schema, User> = Omit<Schema, 'user'> & { user: User }
export type SignIn =
  | WithoutRefs<Static<typeof Authenticated>, Static<typeof SignInUser>>
  | Static<typeof VerificationRequired>
  | Static<typeof EnrollmentRequired>

/** The one answer of every route that ends a step. */
export const SignIn = Type.Unsafe<SignIn>({
  $id: 'SignIn',
  type: 'object',
  oneOf: [
    Type.Ref('Authenticated'),
    Type.Ref('VerificationRequired'),
    Type.Ref('EnrollmentRequired')
  ],
  discriminator: {
    propertyName: 'status',
    mapping: {
      authenticated: '#/components/schemas/Authenticated',
      verification_required: '#/components/schemas/VerificationRequired',
      enrollment_required: '#/components/schemas/EnrollmentRequired'
    }
  }
})

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
          '`pending`: an enrolment waits for its first code. `enabled` includes locked ones.'
      }),
      since: Nullable(Instant),
      lockedUntil: Nullable(Instant),
      codesDisabledAt: Type.Union([Instant, Type.Null()], {
        description:
          'Set after too many wrong codes in a row: none is judged until a reset or a recovery code.'
      }),
      authenticators: Type.Integer({ minimum: 0 }),
      recoveryCodesRemaining: Type.Integer({ minimum: 0 }),
      required: Type.Boolean({ description: 'Whether this user may not go without.' }),
      exempt: Type.Boolean({ description: 'Whether single sign-on stands in for the code.' }),
      reason: DecisionReason
    })
  },
  { $id: 'User' }
)
export type User = Static<typeof User>

export const Authenticator = Type.Object(
  {
    id: Uuid,
    name: AuthenticatorName,
    state: Type.Enum(['active', 'pending'], {
      description: '`pending`: its set-up waits for the first code.'
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

/** The schemas that the spec names. */
export const NAMED_SCHEMAS = [
  SignInUser,
  Authenticated,
  VerificationRequired,
  EnrollmentRequired,
  SignIn,
  User,
  Authenticator,
  TrustedDevice
] as const

/** A reference to a named schema that keeps its type. */
export function refTo<Shape>(name: string) {
  return Type.Unsafe<Shape>(Type.Ref(name))
}
