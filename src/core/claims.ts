// The claims of our tokens, and when they are valid. The caller checks the signature first. Time is an argument, so that
// tests can reach every expiry.
import { type Static, type TSchema, Type } from 'typebox'
import { Compile } from 'typebox/schema'
import { UUID_FORM } from './ids.ts'
import { LAST_NUMERIC_DATE } from './instants.ts'

/** The time to open an app and type six digits. */
const VERIFY_STEP_TTL_SECONDS = 5 * 60
/** Longer, because the user may have to install an authenticator app first. */
export const ENROLL_STEP_TTL_SECONDS = 10 * 60
/** Long enough for the host to exchange it for a session, short enough to expire without a revocation (RFC 9700 §4.14). */
export const ACCESS_TOKEN_TTL_SECONDS = 15 * 60
/** The maximum age of a sign-in for a sensitive act: the `max_age` of our RFC 9470 challenge. */
export const FRESH_SECONDS = 10 * 60

/** Explicit types prevent the use of one kind of token as another (RFC 8725 §3.11). */
export const STEP_TOKEN_TYPE = 'step+jwt'
/** RFC 9068 §2.1. */
export const ACCESS_TOKEN_TYPE = 'at+jwt'
export const STEP_TOKEN_AUDIENCE = 'urn:twostep:step'

/** One factor, a trusted device, or a sign-in during the grace period. */
export const ACR_ONE_FACTOR = 'urn:twostep:acr:1'
/** A second factor in this sign-in, or verified single sign-on. */
export const ACR_TWO_FACTORS = 'urn:twostep:acr:2'

export type StepPurpose = 'verify' | 'enroll'
export type Role = 'member' | 'admin'

/** The identity that a right code links to the user. Only in step tokens after a sign-in through a new provider. */
const SsoLink = Type.Object({
  issuer: Type.String(),
  clientId: Type.String(),
  subject: Type.String(),
  email: Type.Union([Type.String(), Type.Null()])
})
export type SsoLink = Static<typeof SsoLink>

const NumericDate = Type.Integer({ minimum: 0, maximum: LAST_NUMERIC_DATE })
/** When the user showed the first factor, and the provider of single sign-on. A step-up keeps these claims. */
const FIRST_FACTOR = {
  pwd_time: Type.Optional(NumericDate),
  sso_time: Type.Optional(NumericDate),
  sso_iss: Type.Optional(Type.String())
}
const Uuid = Type.String({ pattern: UUID_FORM.source })

export const StepClaims = Type.Object({
  iss: Type.String(),
  aud: Type.Literal(STEP_TOKEN_AUDIENCE),
  sub: Uuid,
  account: Uuid,
  purpose: Type.Union([Type.Literal('verify'), Type.Literal('enroll')]),
  /** The methods of the first step. The access token's `amr` extends them. */
  amr: Type.Array(Type.String()),
  ...FIRST_FACTOR,
  sso_link: Type.Optional(SsoLink),
  epoch: Type.Integer({ minimum: 0 }),
  jti: Uuid,
  iat: NumericDate,
  exp: NumericDate
})
export type StepClaims = Static<typeof StepClaims>

export const AccessClaims = Type.Object({
  iss: Type.String(),
  aud: Type.Array(Type.String()),
  client_id: Uuid,
  sub: Uuid,
  account: Uuid,
  role: Type.Union([Type.Literal('member'), Type.Literal('admin')]),
  email: Type.String(),
  amr: Type.Array(Type.String()),
  acr: Type.Union([Type.Literal(ACR_ONE_FACTOR), Type.Literal(ACR_TWO_FACTORS)]),
  auth_time: NumericDate,
  ...FIRST_FACTOR,
  epoch: Type.Integer({ minimum: 0 }),
  jti: Uuid,
  iat: NumericDate,
  exp: NumericDate
})
export type AccessClaims = Static<typeof AccessClaims>

/** The facts about a user that go into the claims. */
export interface TokenSubject {
  accountId: string
  audience: string
  userId: string
  email: string
  role: Role
  epoch: number
}

/** The first factor of a session. `issuer` is the identity provider that the account had at the single sign-on. */
export type FirstFactor =
  | { kind: 'password'; at: Date; issuer: null }
  | { kind: 'sso'; at: Date; issuer: string }

/** The first step of a sign-in, as all later tokens of the session state it. */
export interface FirstStep {
  /** RFC 8176 values. */
  amr: readonly string[]
  firstFactor: FirstFactor
}

/** How a user has signed in: the source of `amr`, `acr`, `auth_time` and the claims of the first factor. */
export interface Authentication extends FirstStep {
  twoFactors: boolean
  /** When the user signed in at an identity provider; absent if it happened here and now. */
  authenticatedAt?: Date
}

/** Returns the sign-in of a user whose password was checked at this instant, here or by a back end. */
export function byPassword(at: Date): Authentication {
  return { amr: ['pwd'], firstFactor: { kind: 'password', at, issuer: null }, twoFactors: false }
}

/** Returns the single sign-on that a back end asserts. For a provider's ID token, core/id-tokens derives the value. */
export function byAssertedSso(issuer: string, at: Date): Authentication {
  return { amr: ['sso'], firstFactor: { kind: 'sso', at, issuer }, twoFactors: true }
}

/** Returns the first step plus a code from an authenticator (RFC 8176: `otp`, and `mfa` for the combination). */
export function withCode({ amr, firstFactor }: FirstStep): Authentication {
  return { amr: withMethods(amr, ['otp', 'mfa']), firstFactor, twoFactors: true }
}

/** Returns the first step plus a recovery code. RFC 8176 has no value for it, so `rc` is our own. */
export function withRecoveryCode({ amr, firstFactor }: FirstStep): Authentication {
  return { amr: withMethods(amr, ['mfa', 'rc']), firstFactor, twoFactors: true }
}

/** Returns the first factor that a token names; null for an access token of a release up to 0.1. */
export function firstFactorIn({
  pwd_time,
  sso_time,
  sso_iss: issuer
}: Pick<AccessClaims, 'pwd_time' | 'sso_time' | 'sso_iss'>): FirstFactor | null {
  if (sso_time !== undefined && issuer !== undefined)
    return { kind: 'sso', at: new Date(sso_time * 1000), issuer }
  return pwd_time === undefined
    ? null
    : { kind: 'password', at: new Date(pwd_time * 1000), issuer: null }
}

/** Returns the first factor before a step token. A release up to 0.1 issued the token when the factor was shown. */
export function firstFactorOfStep(claims: StepClaims): FirstFactor {
  const at = new Date(claims.iat * 1000)
  const byRelease01 = claims.sso_link
    ? ({ kind: 'sso', at, issuer: claims.sso_link.issuer } as const)
    : ({ kind: 'password', at, issuer: null } as const)
  return firstFactorIn(claims) ?? byRelease01
}

interface StepIssue extends FirstStep {
  issuer: string
  jti: string
  /** The identity that the second step links. */
  link?: SsoLink | undefined
  now: Date
}

/** Returns the claims of the token that leads from the first step to the second, and is accepted nowhere else. */
export function stepClaims(
  { accountId, userId, epoch }: TokenSubject,
  purpose: StepPurpose,
  { issuer, jti, amr, firstFactor, link, now }: StepIssue
): StepClaims {
  const iat = secondsOf(now)
  const ttl = purpose === 'verify' ? VERIFY_STEP_TTL_SECONDS : ENROLL_STEP_TTL_SECONDS
  return {
    iss: issuer,
    aud: STEP_TOKEN_AUDIENCE,
    sub: userId,
    account: accountId,
    purpose,
    amr: [...amr],
    ...firstFactorClaims(firstFactor),
    ...(link && { sso_link: link }),
    epoch,
    jti,
    iat,
    exp: iat + ttl
  }
}

/**
 * Returns the claims of an access token (RFC 9068 §2.2). The first audience is our own API, the second is the API of the
 * account. A host that checks the second one rejects the tokens of every other account.
 */
export function accessClaims(
  { accountId, audience, userId, email, role, epoch }: TokenSubject,
  { amr, firstFactor, twoFactors, authenticatedAt }: Authentication,
  { issuer, jti, now }: { issuer: string; jti: string; now: Date }
): AccessClaims {
  const iat = secondsOf(now)
  return {
    iss: issuer,
    aud: [issuer, audience],
    client_id: accountId,
    sub: userId,
    account: accountId,
    role,
    email,
    amr: [...amr],
    acr: twoFactors ? ACR_TWO_FACTORS : ACR_ONE_FACTOR,
    auth_time: authenticatedAt ? secondsOf(authenticatedAt) : iat,
    ...firstFactorClaims(firstFactor),
    epoch,
    jti,
    iat,
    exp: iat + ACCESS_TOKEN_TTL_SECONDS
  }
}

function firstFactorClaims({ kind, at, issuer }: FirstFactor) {
  const seconds = secondsOf(at)
  return kind === 'sso' ? { sso_time: seconds, sso_iss: issuer } : { pwd_time: seconds }
}

/** Returns the claims of a step token that we issued and that has not expired; null for any other payload. */
export const judgeStepClaims = claimsJudge(StepClaims, ({ iss }, issuer) => iss === issuer)

/** Returns the claims of an access token for our routes that has not expired; null for any other payload. */
export const judgeAccessClaims = claimsJudge(
  AccessClaims,
  ({ iss, aud, client_id, account }, issuer) =>
    iss === issuer && aud.includes(issuer) && client_id === account
)

/** Returns whether the sign-in behind a token is at most ten minutes old (RFC 9470 `max_age`). */
export function isRecent({ auth_time }: Pick<AccessClaims, 'auth_time'>, now: Date): boolean {
  return secondsOf(now) - auth_time <= FRESH_SECONDS
}

/** Returns whether a second factor was used at most ten minutes ago, as sensitive acts require. */
export function isFresh(claims: Pick<AccessClaims, 'acr' | 'auth_time'>, now: Date): boolean {
  return claims.acr === ACR_TWO_FACTORS && isRecent(claims, now)
}

/** A user who acts, as their row says when the act is written. */
interface ActingUser {
  role: Role
  epoch: number
  isDisabled: boolean
}

/**
 * Returns why a user may not act any more; null if they may. The token that they presented had this epoch. Its rights may
 * have been lost since the request began.
 */
export function actingRefusal(
  acting: ActingUser | null,
  { epoch, as }: { epoch: number; as: 'self' | 'admin' }
): 'invalid-credential' | 'limited-access' | null {
  if (!acting || acting.isDisabled || acting.epoch !== epoch) return 'invalid-credential'
  return as === 'admin' && acting.role !== 'admin' ? 'limited-access' : null
}

function claimsJudge<Schema extends TSchema>(
  schema: Schema,
  isMeantForUs: (claims: Static<Schema>, issuer: string) => boolean
) {
  const validator = Compile(schema)
  return (
    payload: unknown,
    { issuer, now }: { issuer: string; now: Date }
  ): Static<Schema> | null => {
    if (!validator.Check(payload)) return null
    const claims = payload as Static<Schema> & { exp: number; nbf?: unknown }
    // We never issue `nbf`, so a token with that claim is not ours.
    if (claims.exp <= secondsOf(now) || claims.nbf !== undefined) return null
    return isMeantForUs(claims, issuer) ? claims : null
  }
}

function withMethods(firstStep: readonly string[], added: readonly string[]): string[] {
  const before = firstStep.filter((method) => !['otp', 'mfa', 'rc'].includes(method))
  return [...before, ...added]
}

function secondsOf(at: Date): number {
  return Math.floor(at.getTime() / 1000)
}
