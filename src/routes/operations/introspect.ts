// For hosts that want a live answer instead of the JWKS: a token of before a reset is inactive here at once.
import formbody from '@fastify/formbody'
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import { Type } from 'typebox'
import type { Tokens } from '../../crypto/tokens.ts'
import type { Subjects } from '../../data/sign-in/subjects.ts'

export interface IntrospectOptions {
  tokens: Tokens
  subjects: Subjects
}

const IntrospectBody = Type.Object(
  {
    token: Type.String({ minLength: 1, maxLength: 8192, pattern: '^[^\\u0000]*$' }),
    token_type_hint: Type.Optional(Type.String({ maxLength: 64 }))
  },
  { additionalProperties: false }
)

const Inactive = Type.Object({ active: Type.Literal(false) })
const Active = Type.Object({
  active: Type.Literal(true),
  token_type: Type.Literal('Bearer'),
  iss: Type.String(),
  aud: Type.Array(Type.String()),
  client_id: Type.String(),
  sub: Type.String(),
  username: Type.String(),
  exp: Type.Integer(),
  iat: Type.Integer(),
  jti: Type.String(),
  account: Type.String(),
  role: Type.String(),
  email: Type.String(),
  amr: Type.Array(Type.String()),
  acr: Type.String(),
  auth_time: Type.Integer(),
  epoch: Type.Integer()
})

const introspect: FastifyPluginAsyncTypebox<IntrospectOptions> = async (
  app,
  { tokens, subjects }
) => {
  await app.register(formbody)

  app.post(
    '/v1/introspect',
    {
      config: {
        limit: 'address',
        act: 'token.introspect',
        credentials: { apiKey: ['introspect'] }
      },
      schema: {
        operationId: 'introspectToken',
        summary: 'Whether an access token is alive (RFC 7662)',
        description:
          'Takes a form, as RFC 7662 has it, or JSON. Inactive: expired, of before a reset or a disabling, of another account, or no access token of ours.',
        tags: ['Discovery'],
        consumes: ['application/x-www-form-urlencoded', 'application/json'],
        body: IntrospectBody,
        response: { 200: Type.Union([Active, Inactive]) }
      }
    },
    async (request) => {
      const { accountId } = request.credentialOf('apiKey')
      const claims = await tokens.readAccessToken(request, request.body.token)
      if (!claims || claims.account !== accountId) return { active: false as const }
      const subject = await subjects.findLiving(claims)
      if (!subject) return { active: false as const }
      const { role, email } = subject
      return {
        ...claims,
        ...{ active: true as const, token_type: 'Bearer' as const, username: email, role, email }
      }
    }
  )
}

export default introspect
