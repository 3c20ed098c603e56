// When an identity provider's ID token is valid (OpenID Connect Core §3.1.3.7). sso/identity-providers checks the
// signature. The checks here need no key and run first, so a token with wrong claims never causes a fetch.
import { createHash } from 'node:crypto'
import { type Static, type TProperties, Type } from 'typebox'
import { Compile } from 'typebox/compile'
import type { Authentication } from './claims.ts'
import { isUserAddress, storedAddress } from './input/email-addresses.ts'
import { INPUT_FORMS } from './input/input-forms.ts'
import { LAST_NUMERIC_DATE } from './instants.ts'

/**
 * A client sends an ID token right after the sign-in at the provider. An older token may have been stolen. Entra ID dates
 * its tokens back by five minutes, so the limit is those five minutes and five for the sign-in.
 */
export const ID_TOKEN_AGE_MAX_SECONDS = 10 * 60
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

/** `crit` names extensions that the recipient must understand (RFC 7515 §4.1.11). This one understands none. */
const Header = Type.Object({
  alg: Type.Enum([...ID_TOKEN_ALGORITHMS]),
  crit: Type.Optional(Type.Never()),
  /** An unencoded payload (RFC 7797 §3) is not the text that was hashed. */
  b64: Type.Optional(Type.Never()),
  zip: Type.Optional(Type.Never()),
  typ: Type.Optional(Type.String())
})

/**
 * The claims that the verdict depends on. All others only describe the sign-in. If one of those is malformed, it counts
 * as absent, because providers differ in what they send.
 */
const Claims = Type.Object({
  iss: Type.String(),
  /** 255 ASCII characters at most (OpenID Connect Core §2). */
  sub: printable(255),
  aud: Type.Union([Type.String(), Type.Array(Type.String(), { minItems: 1 })]),
  azp: Type.Optional(Type.Unknown()),
  exp: NumericDate,
  iat: NumericDate,
  nbf: Type.Optional(Type.Union([NumericDate, Type.Null()])),
  nonce: Type.Optional(Type.Unknown()),
  auth_time: Type.Optional(Type.Unknown()),
  amr: Type.Optional(Type.Unknown()),
  email: Type.Optional(Type.Unknown()),
  email_verified: Type.Optional(Type.Unknown()),
  events: Type.Optional(Type.Unknown()),
  scope: Type.Optional(Type.Unknown()),
  scp: Type.Optional(Type.Unknown()),
  typ: Type.Optional(Type.Unknown())
})
type Claims = Static<typeof Claims>

const headers = Compile(Header)
const claimSets = Compile(Claims)
const headerMembers = membersOf(Header.properties)
const claimMembers = membersOf(Claims.properties)
const numericDates = Compile(NumericDate)
const emails = Compile(printable(254))

/**
 * Checks single members, to name the first one that is malformed. A list of all errors would take long for a large token.
 * The names come from the schema, so the audit trail shows no text of the token.
 */
function membersOf(properties: TProperties) {
  return Object.entries(properties).map(([name, schema]) => ({
    name,
    validator: Compile(Type.Object({ [name]: schema }))
  }))
}
type Member = ReturnType<typeof membersOf>[number]

/** A parsed ID token. Nothing in it is trusted yet. */
interface UnverifiedIdToken {
  isReadable: true
  claims: Claims
  /**
   * SHA-256 of header and payload. The signature is left out: not every bit of it matters, so variants of one token would
   * have different hashes.
   */
  hash: Uint8Array<ArrayBuffer>
}

/** Text that cannot be an ID token. `part` names the first part that is malformed, for the audit trail. */
interface UnreadableIdToken {
  isReadable: false
  part: string
}

/** What the account's policy and the caller require of an ID token. */
interface IdTokenExpectation {
  issuer: string
  clientId: string
  /** Null if the caller sent none. */
  nonce: string | null
  /** Whether e-mail addresses count as verified although the provider does not say so. */
  trustEmail: boolean
}

/** The user who signed in at the provider, and how. */
export interface ProvenIdentity {
  issuer: string
  subject: string
  /** In the form in which addresses of users are stored; null if the token has none. */
  email: string | null
  /** The same address if it counts as verified, otherwise null. */
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

/** Parses a compact JWS. Says which part is malformed, if the text cannot be an ID token. */
export function readIdToken(token: string): UnverifiedIdToken | UnreadableIdToken {
  const [header, payload, signature, ...more] = token.split('.', 4)
  if (!header || !payload || !signature || more.length > 0) return unreadable('token')
  if (![header, payload, signature].every((part) => /^[A-Za-z0-9_-]+$/.test(part)))
    return unreadable('token')
  const protectedHeader = parsed(header)
  if (!headers.Check(protectedHeader)) return malformedIn('header', headerMembers, protectedHeader)
  const { typ } = protectedHeader as Static<typeof Header>
  if (!isOfIdTokenType(typ)) return unreadable('header.typ')
  const claims = parsed(payload)
  if (!claimSets.Check(claims)) return malformedIn('payload', claimMembers, claims)
  const hash = createHash('sha256').update(`${header}.${payload}`).digest()
  return { isReadable: true, claims: claims as Claims, hash: Uint8Array.from(hash) }
}

function malformedIn(
  part: 'header' | 'payload',
  members: readonly Member[],
  value: unknown
): UnreadableIdToken {
  const isObject = typeof value === 'object' && value !== null && !Array.isArray(value)
  const malformed = isObject && members.find(({ validator }) => !validator.Check(value))
  return unreadable(malformed ? `${part}.${malformed.name}` : part)
}

function unreadable(part: string): UnreadableIdToken {
  return { isReadable: false, part }
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
      email: emailOf(claims),
      verifiedEmail: isEmailVerified(claims, expected) ? emailOf(claims) : null,
      authentication: authenticationOf(claims, expected.issuer, now),
      expiresAt: new Date(Math.min(exp, iat + ID_TOKEN_AGE_MAX_SECONDS) * 1000)
    }
  }
}

function flawOf(claims: Claims, expected: IdTokenExpectation, now: number): IdTokenFlaw | null {
  const { iss, exp, iat, nbf, nonce } = claims
  if (!isIssuedBy(iss, expected.issuer)) return 'other_issuer'
  if (!isIdTokenPayload(claims)) return 'other_kind'
  if (!isMeantFor(claims, expected.clientId)) return 'other_client'
  if (exp <= now) return 'expired'
  if (Math.max(iat, nbf ?? 0) > now + CLOCK_TOLERANCE_SECONDS) return 'not_yet_valid'
  if (now - iat > ID_TOKEN_AGE_MAX_SECONDS) return 'too_old'
  // A nonce that only one side has is an error too: the token would not be bound to the user's browser.
  return (nonce ?? null) === expected.nonce ? null : 'other_nonce'
}

/** Google's documents name this issuer, and its tokens may leave out the scheme (developers.google.com/identity). */
const GOOGLE = 'https://accounts.google.com'

function isIssuedBy(iss: string, issuer: string): boolean {
  return iss === issuer || (issuer === GOOGLE && `https://${iss}` === GOOGLE)
}

/**
 * Returns whether the payload is that of an ID token. The provider signs other tokens for the same client with the same
 * key: back-channel logout tokens have `events`, access tokens have a scope, and Keycloak states the type.
 */
function isIdTokenPayload({ events, scope, scp, typ }: Claims): boolean {
  return [events, scope, scp].every(isAbsent) && (isAbsent(typ) || typ === 'ID')
}

/**
 * Returns whether the token was issued for this client. A token with several audiences must name it in `azp`. A token for
 * this client alone may name another party: Google's names the Android app that requested it for the back end's client.
 */
function isMeantFor({ aud, azp }: Claims, clientId: string): boolean {
  const audiences = [aud].flat()
  if (!audiences.includes(clientId)) return false
  return audiences.length === 1 || azp === clientId
}

/** Access tokens (RFC 9068) and logout tokens name their type. An ID token has the type `JWT` or none. */
function isOfIdTokenType(typ = 'JWT'): boolean {
  return /^(application\/)?jwt$/i.test(typ)
}

/** Returns the address in the form in which those of users are stored. */
function emailOf({ email }: Claims): string | null {
  if (typeof email !== 'string') return null
  const address = INPUT_FORMS.email(email)
  // Checked before it is in lower case, which makes ASCII of some other letters.
  return emails.Check(address) || isUserAddress(address) ? storedAddress(address) : null
}

/** Some providers send the claim as text. If the account trusts the provider's addresses, only a `false` counts. */
function isEmailVerified({ email_verified }: Claims, { trustEmail }: IdTokenExpectation): boolean {
  const isDenied = email_verified === false || email_verified === 'false'
  return trustEmail ? !isDenied : email_verified === true || email_verified === 'true'
}

/**
 * Returns the provider's methods followed by ours, and its sign-in time, which is never later than now. Without a stated
 * time, the first factor is as old as the token.
 */
function authenticationOf(claims: Claims, issuer: string, now: Date): Authentication {
  const { auth_time, iat } = claims
  // ADFS and ORCID send a single method as text.
  const methods = [claims.amr].flat().filter(isMethod)
  const values = new Set([...methods.slice(0, AMR_VALUES_MAX), 'sso'])
  const stated = numericDateOf(auth_time)
  const instant = (seconds: number) => new Date(Math.min(seconds, iat, now.getTime() / 1000) * 1000)
  return {
    amr: [...values],
    firstFactor: { kind: 'sso', at: instant(stated ?? iat), issuer },
    twoFactors: true,
    // Without `auth_time` the provider's session can have any age, so it never counts as a fresh sign-in.
    authenticatedAt: instant(stated ?? 0)
  }
}

function isMethod(value: unknown): value is string {
  return typeof value === 'string' && /^[!-~]{1,64}$/.test(value)
}

/** Some providers send the time as text. */
function numericDateOf(value: unknown): number | null {
  const date = typeof value === 'string' && /^\d{1,15}$/.test(value) ? Number(value) : value
  return numericDates.Check(date) ? (date as number) : null
}

/** A member that is null says nothing. */
function isAbsent(value: unknown): boolean {
  return value === undefined || value === null
}

function parsed(part: string): unknown {
  try {
    return JSON.parse(Buffer.from(part, 'base64url').toString())
  } catch {
    return null
  }
}
