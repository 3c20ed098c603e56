// Issues and reads two kinds of JWT. Each has its own key, type and audience, so that neither can be used as the other
// (RFC 8725 §3.11). Step tokens are signed with HS256, since only the service verifies them. Access tokens are signed with
// ES256, since every host verifies them by the JWKS.
import { createSigner } from 'fast-jwt'
import type { FastifyRequest } from 'fastify'
import {
  ACCESS_TOKEN_TTL_SECONDS,
  ACCESS_TOKEN_TYPE,
  type AccessClaims,
  type Authentication,
  accessClaims,
  type FirstStep,
  judgeAccessClaims,
  judgeStepClaims,
  type SsoLink,
  STEP_TOKEN_TYPE,
  type StepClaims,
  type StepPurpose,
  stepClaims,
  type TokenSubject
} from '../core/claims.ts'
import { generateId } from './ids.ts'
import { deriveKey, type MasterKeys } from './sealing.ts'
import type { SigningKeyRing } from './signing-key-ring.ts'

interface TokensOptions {
  issuer: string
  masterKeys: MasterKeys
  signingKeys: SigningKeyRing
  now: () => Date
}

export interface Tokens {
  /** Returns a new step token, and the seconds until it expires. The second step links the identity `link`, if any. */
  issueStepToken(
    subject: TokenSubject,
    purpose: StepPurpose,
    firstStep: FirstStep,
    link?: SsoLink
  ): { stepToken: string; expiresInSeconds: number }
  /** Returns a new access token, and the seconds until it expires. */
  issueAccessToken(
    subject: TokenSubject,
    authentication: Authentication
  ): { accessToken: string; expiresIn: number }
  /** Returns the claims of a step token that we issued and that has not expired; null for any other text. */
  readStepToken(request: FastifyRequest, token: string): Promise<StepClaims | null>
  /**
   * Returns the claims of an access token that we issued and that has not expired; null for any other text. Rejects if the
   * signing keys cannot be loaded.
   */
  readAccessToken(request: FastifyRequest, token: string): Promise<AccessClaims | null>
}

/** Creates the issuer and reader of tokens. Keys from the newest master key sign step tokens, and those from any master key verify them. */
export function createTokens({ issuer, masterKeys, signingKeys, now }: TokensOptions): Tokens {
  const [newest] = masterKeys
  const signStep = createSigner({
    key: stepKeyOf(newest),
    algorithm: 'HS256',
    kid: newest.id,
    header: { alg: 'HS256', typ: STEP_TOKEN_TYPE }
  })
  // A signer parses its PEM when it is created. That costs ten times as much as a signature, so the signer is kept.
  let signer: { kid: string; sign: ReturnType<typeof accessSigner> } | null = null

  function signAccess(claims: AccessClaims): string {
    const { kid, privateKeyPem } = signingKeys.current()
    if (signer?.kid !== kid) signer = { kid, sign: accessSigner(kid, privateKeyPem) }
    return signer.sign({ ...claims })
  }

  return {
    issueStepToken(subject, purpose, { amr, firstFactor }, link) {
      const claims = stepClaims(subject, purpose, {
        issuer,
        jti: generateId(),
        amr,
        firstFactor,
        link,
        now: now()
      })
      return { stepToken: signStep({ ...claims }), expiresInSeconds: claims.exp - claims.iat }
    },

    issueAccessToken(subject, authentication) {
      const claims = accessClaims(subject, authentication, {
        issuer,
        jti: generateId(),
        now: now()
      })
      return { accessToken: signAccess(claims), expiresIn: ACCESS_TOKEN_TTL_SECONDS }
    },

    async readStepToken(request, token) {
      // @fastify/jwt accepts no token as an argument: it takes the token from the request.
      request.presentedToken = token
      const payload = await payloadOf(() => request.stepJwtVerify())
      return judgeStepClaims(payload, { issuer, now: now() })
    },

    async readAccessToken(request, token) {
      request.presentedToken = token
      const payload = await payloadOf(() => request.accessJwtVerify())
      return judgeAccessClaims(payload, { issuer, now: now() })
    }
  }
}

function accessSigner(kid: string, privateKeyPem: string) {
  return createSigner({
    key: privateKeyPem,
    algorithm: 'ES256',
    kid,
    header: { alg: 'ES256', typ: ACCESS_TOKEN_TYPE }
  })
}

/** Returns null if the token is invalid. Rethrows other errors: an unavailable database says nothing about the token. */
async function payloadOf(verify: () => Promise<unknown>): Promise<unknown> {
  try {
    return await verify()
  } catch (error) {
    if (/^(FAST|FST)_JWT_/.test((error as { code?: string }).code ?? '')) return null
    throw error
  }
}

/** Returns the HS256 key of step tokens for each master key, by the id of the master key. */
export function stepKeysOf(masterKeys: MasterKeys): ReadonlyMap<string, string> {
  return new Map(masterKeys.map((masterKey) => [masterKey.id, stepKeyOf(masterKey)]))
}

function stepKeyOf(masterKey: MasterKeys[number]): string {
  return deriveKey(masterKey, 'step-token').toString('base64url')
}
