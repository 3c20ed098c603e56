// Registers how each kind of JWT is verified. crypto/tokens issues and reads them.
import fastifyJwt from '@fastify/jwt'
import type { FastifyRequest } from 'fastify'
import fastifyPlugin from 'fastify-plugin'
import { ACCESS_TOKEN_TYPE, STEP_TOKEN_AUDIENCE, STEP_TOKEN_TYPE } from '../../core/claims.ts'
import type { SigningKeyRing } from '../../crypto/signing-key-ring.ts'

declare module '@fastify/jwt' {
  interface FastifyJWT {
    namespaces: 'step' | 'access'
  }
}

declare module 'fastify' {
  interface FastifyRequest {
    /** The JWT that is looked at: the bearer token, or the one an introspection asks about. */
    presentedToken: string
    stepJwtVerify(): Promise<unknown>
    accessJwtVerify(): Promise<unknown>
  }
}

const REQUIRED_CLAIMS = ['iss', 'aud', 'sub', 'exp', 'iat', 'jti']

export interface TokenVerificationOptions {
  issuer: string
  /** The HS256 keys of step tokens, by the id of their master key. */
  stepKeys: ReadonlyMap<string, string>
  signingKeys: SigningKeyRing
}

export const tokenVerification = fastifyPlugin<TokenVerificationOptions>(
  async (app, { issuer, stepKeys, signingKeys }) => {
    // Expiry is judged by core/claims on the injected clock, together with every other claim.
    app.decorateRequest('presentedToken', '')
    const shared = {
      extractToken: ({ presentedToken }: FastifyRequest) => presentedToken,
      allowedIss: issuer,
      requiredClaims: REQUIRED_CLAIMS,
      ignoreExpiration: true,
      ignoreNotBefore: true,
      cache: false
    }
    await app.register(fastifyJwt, {
      namespace: 'step',
      secret: {
        private: '',
        public: async (_request: FastifyRequest, token: unknown) =>
          keyFor(stepKeys.get(kidOf(token)))
      },
      decode: { complete: true },
      verify: {
        ...shared,
        algorithms: ['HS256'],
        allowedAud: STEP_TOKEN_AUDIENCE,
        checkTyp: STEP_TOKEN_TYPE
      }
    })
    await app.register(fastifyJwt, {
      namespace: 'access',
      secret: {
        private: '',
        public: async (_request: FastifyRequest, token: unknown) =>
          keyFor(await signingKeys.publicKeyPem(kidOf(token)))
      },
      decode: { complete: true },
      verify: {
        ...shared,
        algorithms: ['ES256'],
        allowedAud: issuer,
        checkTyp: ACCESS_TOKEN_TYPE
      }
    })
  },
  { name: 'token-verification' }
)

class UnknownKey extends Error {
  readonly code = 'FST_JWT_UNKNOWN_KEY'
}

// An empty key would verify what was signed with an empty key: an unknown kid has to end here.
function keyFor(key: string | null | undefined): string {
  if (!key) throw new UnknownKey('no such key')
  return key
}

function kidOf(token: unknown): string {
  const { header } = token as { header?: { kid?: unknown } }
  return typeof header?.kid === 'string' ? header.kid : ''
}
