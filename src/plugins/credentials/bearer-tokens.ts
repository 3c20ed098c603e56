// Reads step tokens and access tokens, and rejects a request without a valid credential.
import type { FastifyRequest } from 'fastify'
import fastifyPlugin from 'fastify-plugin'
import { firstFactorIn, firstFactorOfStep } from '../../core/claims.ts'
import type { Tokens } from '../../crypto/tokens.ts'
import type { Subjects } from '../../data/sign-in/subjects.ts'
import type { Credential } from '../credentials.ts'
import { bearerOf, invalidCredential, ruleOf } from './bearer.ts'

export interface BearerTokensOptions {
  tokens: Tokens
  subjects: Subjects
}

/** Sets the credential of a request that presents a valid token. Throws `invalid-credential` if there is no valid one. */
export const bearerTokens = fastifyPlugin<BearerTokensOptions>(
  async (app, { tokens, subjects }) => {
    app.addHook('onRequest', async (request) => {
      if (!ruleOf(request) || request.credential) return
      const bearer = bearerOf(request)
      request.credential = bearer === null ? null : await readToken(request, bearer)
      if (!request.credential) throw invalidCredential(request)
    })

    async function readToken(request: FastifyRequest, bearer: string): Promise<Credential | null> {
      return (await readStepToken(request, bearer)) ?? (await readAccessToken(request, bearer))
    }

    async function readStepToken(
      request: FastifyRequest,
      bearer: string
    ): Promise<Credential | null> {
      const claims = await tokens.readStepToken(request, bearer)
      if (!claims) return null
      const subject = await subjects.findTokenOwner(claims, claims.jti)
      if (!subject || subject.stepToken?.isConsumed) return null
      const { account: accountId, jti, exp } = claims
      const stepToken = { jti, expiresAt: new Date(exp * 1000) }
      const firstFactor = firstFactorOfStep(claims)
      return { kind: 'step', claims, firstFactor, accountId, subject, stepToken }
    }

    async function readAccessToken(
      request: FastifyRequest,
      bearer: string
    ): Promise<Credential | null> {
      const claims = await tokens.readAccessToken(request, bearer)
      if (!claims) return null
      const subject = await subjects.findTokenOwner(claims)
      if (!subject) return null
      const { account: accountId } = claims
      const firstFactor = firstFactorIn(claims)
      return { kind: 'accessToken', claims, firstFactor, accountId, subject, stepToken: null }
    }
  },
  { name: 'bearer-tokens', dependencies: ['credentials', 'bearer-keys', 'token-verification'] }
)
