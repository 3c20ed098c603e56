// What our tokens say, and when they may be believed. Signatures are checked before these functions are
// asked; time is an argument, so that expiry is as testable as everything else.
import { type Static, type TSchema, Type } from 'typebox'
import { Compile } from 'typebox/schema'

/** A step token lives as long as it takes to open an app and type six digits. */
export const VERIFY_STEP_TTL_SECONDS = 5 * 60
/** Installing an authenticator app takes longer. */
export const ENROLL_STEP_TTL_SECONDS = 10 * 60
/** Long enough to be exchanged for a host's session, short enough to die by itself (RFC 9700 §4.14). */
export const ACCESS_TOKEN_TTL_SECONDS = 15 * 60
/** How old a sign-in may be for a sensitive act; the `max_age` of our RFC 9470 challenge. */
export const FRESH_SECONDS = 10 * 60

/** Explicit types keep one kind of token from passing for another (RFC 8725 §3.11). */
export const STEP_TOKEN_TYPE = 'step+jwt'
/** RFC 9068 §2.1. */
export const ACCESS_TOKEN_TYPE = 'at+jwt'
export const STEP_TOKEN_AUDIENCE = 'urn:twostep:step'

/** One factor, a trusted device, or grace. */
export const ACR_ONE_FACTOR = 'urn:twostep:acr:1'
/** A second factor shown just now, or verified single sign-on. */
export const ACR_TWO_FACTORS = 'urn:twostep:acr:2'

export type StepPurpose = 'verify' | 'enroll'
export type Role = 'member' | 'admin'

/** Up to the last second of the year 9999: what is later is no instant that a database or RFC 3339 can hold. */
const NumericDate = Type.Integer({ minimum: 0, maximum: 253_402_300_799 })
const Uuid = Type.String({ pattern: '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$' })

export const StepClaims = Type.Object({
  iss: Type.String(),
  aud: Type.Literal(STEP_TOKEN_AUDIENCE),
  sub: Uuid,
  account: Uuid,
  purpose: Type.Union([Type.Literal('verify'), Type.Literal('enroll')]),
  /** How the first step was done; the access token's `amr` builds on it. */
  amr: Type.Array(Type.String()),
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
  epoch: Type.Integer({ minimum: 0 }),
  jti: Uuid,
  iat: NumericDate,
  exp: NumericDate
})
export type AccessClaims = Static<typeof AccessClaims>

/** The user a token is about, as the claims need them. */
export interface TokenSubject {
  accountId: string
  audience: string
  userId: string
  email: string
  role: Role
  epoch: number
}

/** How a person has just proved who they are, as `amr` and `acr` tell it. */
export interface Authentication {
  /** RFC 8176 values. */
  amr: readonly string[]
  twoFactors: boolean
  /** When, where it was elsewhere and earlier; absent for just now. */
  authenticatedAt?: Date
}

export const BY_PASSWORD: Authentication = { amr: ['pwd'], twoFactors: false }

/** Single sign-on by the word of a back end; what a provider's own word says, core/id-tokens tells. */
export const BY_SSO: Authentication = { amr: ['sso'], twoFactors: true }

/** Whether somebody came by single sign-on: by the provider's word, or by a back end's. */
export function isBySso(amr: readonly string[]): boolean {
  return amr.includes('sso')
}

/** The first step and a code from an authenticator (RFC 8176: `otp`, and `mfa` for both together). */
export function withCode(firstStep: readonly string[]): Authentication {
  return { amr: withMethods(firstStep, ['otp', 'mfa']), twoFactors: true }
}

/** The first step and a recovery code; `rc` is ours, RFC 8176 has none for it. */
export function withRecoveryCode(firstStep: readonly string[]): Authentication {
  return { amr: withMethods(firstStep, ['mfa', 'rc']), twoFactors: true }
}

/** Claims of the token that leads from the first step to the second, and nowhere else. */
export function stepClaims(
  { accountId, userId, epoch }: TokenSubject,
  purpose: StepPurpose,
  { issuer, jti, amr, now }: { issuer: string; jti: string; amr: readonly string[]; now: Date }
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
    epoch,
    jti,
    iat,
    exp: iat + ttl
  }
}

/**
 * Claims of an access token (RFC 9068 §2.2). The first audience is ours, the second the account's own API,
 * so that a host can refuse the tokens of every other account.
 */
export function accessClaims(
  { accountId, audience, userId, email, role, epoch }: TokenSubject,
  { amr, twoFactors, authenticatedAt }: Authentication,
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
    epoch,
    jti,
    iat,
    exp: iat + ACCESS_TOKEN_TTL_SECONDS
  }
}

/** The claims of a step token of ours that is still alive; null for anything else. */
export const judgeStepClaims = claimsJudge(StepClaims, ({ iss }, issuer) => iss === issuer)

/** The claims of an access token of ours, for our own routes, that is still alive; null for anything else. */
export const judgeAccessClaims = claimsJudge(
  AccessClaims,
  ({ iss, aud, client_id, account }, issuer) =>
    iss === issuer && aud.includes(issuer) && client_id === account
)

/** Whether the sign-in behind a token happened at most ten minutes ago (RFC 9470 `max_age`). */
export function isRecent({ auth_time }: Pick<AccessClaims, 'auth_time'>, now: Date): boolean {
  return secondsOf(now) - auth_time <= FRESH_SECONDS
}

/** Whether a second factor was shown at most ten minutes ago: what a sensitive act asks for. */
export function isFresh(claims: Pick<AccessClaims, 'acr' | 'auth_time'>, now: Date): boolean {
  return claims.acr === ACR_TWO_FACTORS && isRecent(claims, now)
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
    // We never issue `nbf`; a token that has one was not made here.
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
