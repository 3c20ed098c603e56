// When an identity provider's ID token is valid (OpenID Connect Core §3.1.3.7). sso/identity-providers checks the
// signature. The checks here need no key and run first, so a token with wrong claims never causes a fetch.
import { createHash } from 'node:crypto'
import { type Static, Type } from 'typebox'
import { Compile } from 'typebox/compile'
import type { Authentication } from './claims.ts'
import { LAST_NUMERIC_DATE } from './instants.ts'

/** Fits the ID tokens of all known providers. The whole token is held in memory. */
export const ID_TOKEN_LENGTH_MAX = 8 * 1024
/** A client sends an ID token right after the sign-in at the provider. An older token may have been stolen. */
export const ID_TOKEN_AGE_MAX_SECONDS = 5 * 60
/** How far a provider's clock may be ahead of the service's clock. */
export const CLOCK_TOLERANCE_SECONDS = 30

/**
 * Signatures that only the provider can create (RFC 8725 §3.1). HS256 would use the public key as a shared secret, and
 * `none` has no signature.
 */
export const ID_TOKEN_ALGORITHMS = [
  'RS256',
  'RS384',
  'RS512',
  'PS256',
  'PS384',
  'PS512',
  'ES256',
  'ES384',
  'ES512',
  'EdDSA',
  'Ed25519'
] as const

const AMR_VALUES_MAX = 10

/** Unlike in our own claims, fractions are allowed (RFC 7519 §2). */
const NumericDate = Type.Number({ minimum: 0, maximum: LAST_NUMERIC_DATE })
const printable = (maxLength: number) =>
  Type.String({ minLength: 1, maxLength, pattern: '^[\\u0020-\\u007e]*$' })

const Header = Type.Object({
  alg: Type.Enum([...ID_TOKEN_ALGORITHMS]),
  kid: Type.Optional(Type.String()),
  typ: Type.Optional(Type.String())
})

const Claims = Type.Object({
  iss: Type.String(),
  /** 255 ASCII characters at most (OpenID Connect Core §2). */
  sub: printable(255),
  aud: Type.Union([Type.String(), Type.Array(Type.String(), { minItems: 1 })]),
  azp: Type.Optional(Type.String()),
  exp: NumericDate,
  iat: NumericDate,
  nbf: Type.Optional(NumericDate),
  nonce: Type.Optional(Type.String()),
  auth_time: Type.Optional(NumericDate),
  amr: Type.Optional(Type.Array(Type.Unknown())),
  email: Type.Optional(Type.Unknown()),
  email_verified: Type.Optional(Type.Unknown()),
  events: Type.Optional(Type.Unknown())
})
type Claims = Static<typeof Claims>

const headers = Compile(Header)
const claimSets = Compile(Claims)
const emails = Compile(printable(254))

/** A parsed ID token. Nothing in it is trusted yet. */
interface UnverifiedIdToken {
  claims: Claims
  /**
   * SHA-256 of header and payload. The signature is left out: not every bit of it matters, so variants of one token would
   * have different hashes.
   */
  hash: Uint8Array<ArrayBuffer>
}

/** What the account's policy and the caller require of an ID token. */
interface IdTokenExpectation {
  issuer: string
  clientId: string
  /** Null if the caller sent none. */
  nonce: string | null
}

/** The user who signed in at the provider, and how. */
export interface ProvenIdentity {
  issuer: string
  subject: string
  /** In lower case; null if the provider does not say that it verified one. */
  verifiedEmail: string | null
  authentication: Authentication
  /** When the token expires. */
  expiresAt: Date
}

type IdTokenVerdict =
  | { accepted: true; identity: ProvenIdentity }
  | { accepted: false; reason: IdTokenFlaw }

export type IdTokenFlaw =
  | 'other_kind'
  | 'other_issuer'
  | 'other_client'
  | 'expired'
  | 'not_yet_valid'
  | 'too_old'
  | 'other_nonce'

/** Parses a compact JWS. Returns null for text that cannot be an ID token. */
export function readIdToken(token: string): UnverifiedIdToken | null {
  if (token.length > ID_TOKEN_LENGTH_MAX) return null
  const [header, payload, signature, ...more] = token.split('.')
  if (!header || !payload || !signature || more.length > 0) return null
  if (![header, payload, signature].every((part) => /^[A-Za-z0-9_-]+$/.test(part))) return null
  const claims = parsed(payload)
  if (!headers.Check(parsed(header)) || !claimSets.Check(claims)) return null
  if (!isOfIdTokenType((parsed(header) as Static<typeof Header>).typ)) return null
  const hash = createHash('sha256').update(`${header}.${payload}`).digest()
  return { claims: claims as Claims, hash: Uint8Array.from(hash) }
}

/** Judges the claims of an ID token at an instant. The verdict is valid only if the provider's signature is. */
export function judgeIdToken(
  claims: Claims,
  expected: IdTokenExpectation,
  now: Date
): IdTokenVerdict {
  const reason = flawOf(claims, expected, now.getTime() / 1000)
  if (reason) return { accepted: false, reason }
  const { sub: subject, exp, iat } = claims
  return {
    accepted: true,
    identity: {
      issuer: expected.issuer,
      subject,
      verifiedEmail: verifiedEmailOf(claims),
      authentication: authenticationOf(claims, now),
      expiresAt: new Date(Math.min(exp, iat + ID_TOKEN_AGE_MAX_SECONDS) * 1000)
    }
  }
}

function flawOf(claims: Claims, expected: IdTokenExpectation, now: number): IdTokenFlaw | null {
  const { iss, exp, iat, nbf = 0, nonce = null } = claims
  if (iss !== expected.issuer) return 'other_issuer'
  // The same key signs back-channel logout tokens for the same client. They are no sign-in.
  if (claims.events !== undefined) return 'other_kind'
  if (!isMeantFor(claims, expected.clientId)) return 'other_client'
  if (exp <= now) return 'expired'
  if (Math.max(iat, nbf) > now + CLOCK_TOLERANCE_SECONDS) return 'not_yet_valid'
  if (now - iat > ID_TOKEN_AGE_MAX_SECONDS) return 'too_old'
  // A nonce that only one side has is an error too: the token would not be bound to the user's browser.
  return nonce === expected.nonce ? null : 'other_nonce'
}

/** Returns whether the token was issued to this client. A token with several audiences must name it in `azp`. */
function isMeantFor({ aud, azp }: Claims, clientId: string): boolean {
  const audiences = [aud].flat()
  if (!audiences.includes(clientId)) return false
  return azp === undefined ? audiences.length === 1 : azp === clientId
}

/** Access tokens (RFC 9068) and logout tokens name their type. An ID token has the type `JWT` or none. */
function isOfIdTokenType(typ = 'JWT'): boolean {
  return /^(application\/)?jwt$/i.test(typ)
}

function verifiedEmailOf({ email, email_verified }: Claims): string | null {
  if (email_verified !== true || typeof email !== 'string' || !emails.Check(email)) return null
  return email.toLowerCase()
}

/** Without `auth_time` the provider's session can have any age, so it never counts as a fresh sign-in. */
const AUTH_TIME_UNKNOWN = 0

/** Returns the provider's methods followed by ours, and its sign-in time, which is never later than now. */
function authenticationOf({ amr = [], auth_time, iat }: Claims, now: Date): Authentication {
  const methods = amr.filter((value) => typeof value === 'string' && /^[!-~]{1,64}$/.test(value))
  const values = new Set([...(methods as string[]).slice(0, AMR_VALUES_MAX), 'sso'])
  const at = Math.min(auth_time ?? AUTH_TIME_UNKNOWN, iat, now.getTime() / 1000)
  return { amr: [...values], twoFactors: true, authenticatedAt: new Date(at * 1000) }
}

function parsed(part: string): unknown {
  try {
    return JSON.parse(Buffer.from(part, 'base64url').toString())
  } catch {
    return null
  }
}
