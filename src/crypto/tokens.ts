// Two kinds of JWT, each with its own key, type and audience, so that neither can pass for the other
// (RFC 8725 §3.11): step tokens (HS256, ours alone) and access tokens (ES256, for everyone with the JWKS).
import { createSigner } from 'fast-jwt'
import type { FastifyRequest } from 'fastify'
import {
  ACCESS_TOKEN_TTL_SECONDS,
  ACCESS_TOKEN_TYPE,
  type AccessClaims,
  type Authentication,
  accessClaims,
  judgeAccessClaims,
  judgeStepClaims,
  STEP_TOKEN_TYPE,
  type StepClaims,
  type StepPurpose,
  stepClaims,
  type TokenSubject
} from '../core/claims.ts'
import { generateId } from './ids.ts'
import { deriveKey, type MasterKeys } from './sealing.ts'
import type { SigningKeys } from './signing-key-ring.ts'

export interface TokensOptions {
  issuer: string
  masterKeys: MasterKeys
  signingKeys: SigningKeys
  now: () => Date
}

export interface Tokens {
  /** A step token, and for how many seconds it is good. */
  issueStepToken(
    subject: TokenSubject,
    purpose: StepPurpose,
    amr: readonly string[]
  ): { stepToken: string; expiresInSeconds: number }
  /** An access token, and for how many seconds it is good. */
  issueAccessToken(
    subject: TokenSubject,
    authentication: Authentication
  ): { accessToken: string; expiresIn: number }
  /** The claims, when the token is a living step token of ours; otherwise null. */
  readStepToken(request: FastifyRequest, token: string): Promise<StepClaims | null>
  /** The claims, when the token is a living access token of ours; otherwise null. */
  readAccessToken(request: FastifyRequest, token: string): Promise<AccessClaims | null>
}

export function createTokens({ issuer, masterKeys, signingKeys, now }: TokensOptions): Tokens {
  const [newest] = masterKeys
  const signStep = createSigner({
    key: stepKeyOf(newest),
    algorithm: 'HS256',
    kid: newest.id,
    header: { alg: 'HS256', typ: STEP_TOKEN_TYPE }
  })
  // A signer parses its PEM once; made anew for every token that would cost ten times the signature.
  let signer: { kid: string; sign: ReturnType<typeof accessSigner> } | null = null

  function signAccess(claims: AccessClaims): string {
    const { kid, privateKeyPem } = signingKeys.current()
    if (signer?.kid !== kid) signer = { kid, sign: accessSigner(kid, privateKeyPem) }
    return signer.sign({ ...claims })
  }

  return {
    issueStepToken(subject, purpose, amr) {
      const claims = stepClaims(subject, purpose, { issuer, jti: generateId(), amr, now: now() })
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
      request.presentedToken = token
      const payload = await verified(() => request.stepJwtVerify())
      return judgeStepClaims(payload, { issuer, now: now() })
    },

    async readAccessToken(request, token) {
      request.presentedToken = token
      const payload = await verified(() => request.accessJwtVerify())
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

// Whatever is wrong with a token is the caller's problem; anything else (the database gone) is not.
async function verified(verify: () => Promise<unknown>): Promise<unknown> {
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
