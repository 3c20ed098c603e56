// Single sign-on: the provider that a policy names, and the identities of users there.
import { type Static, Type } from 'typebox'
import { Instant, Nullable, Uuid } from './scalars.ts'

/**
 * The characters of a URL (RFC 3986) that an issuer may have: no query, no fragment and no user. The issuer is compared
 * with the `iss` of ID tokens character by character. Whether the service may connect to it is decided when it connects.
 */
export const Issuer = Type.String({
  maxLength: 500,
  pattern: "^https?://[A-Za-z0-9\\[][A-Za-z0-9._~:/\\[\\]!$&'()*+,;=%-]*$",
  examples: ['https://login.acme.example']
})

/** 255 ASCII characters at most (OpenID Connect Core §2). */
export const SsoSubject = Type.String({
  minLength: 1,
  maxLength: 255,
  pattern: '^[\\u0020-\\u007e]*$',
  description: 'The `sub` that the identity provider uses for the user.',
  examples: ['248289761001']
})

export const SsoIdentity = Type.Object(
  {
    id: Uuid,
    issuer: Type.String(),
    subject: SsoSubject,
    email: Nullable(
      Type.String({ description: 'The e-mail address in the ID token that made the link, if any.' })
    ),
    linkedAt: Instant,
    lastUsedAt: Nullable(Instant)
  },
  { $id: 'SsoIdentity' }
)

export type SsoIdentity = Static<typeof SsoIdentity>
