// Introspection for hosts that need the current state of a token. A host that verifies with the JWKS accepts a revoked
// token until it expires; introspection reports the revocation immediately.
import formbody from '@fastify/formbody'
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import { Type } from 'typebox'
import type { Tokens } from '../../crypto/tokens.ts'
import type { Subjects } from '../../data/sign-in/subjects.ts'
import { ACCESS_TOKEN } from '../../wire/examples.ts'
import type { RequestOf, RouteDefinition } from '../definitions.ts'

interface IntrospectOptions {
  tokens: Tokens
  subjects: Subjects
}

const IntrospectBody = Type.Object(
  {
    token: Type.String({
      minLength: 1,
      maxLength: 8192,
      pattern: '^[^\\u0000]*$',
      examples: [ACCESS_TOKEN]
    }),
    token_type_hint: Type.Optional(Type.String({ maxLength: 64 }))
  },
  { additionalProperties: false }
)

const Inactive = Type.Object({ active: Type.Literal(false) }, { title: 'InactiveToken' })
const Active = Type.Object(
  {
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
    pwd_time: Type.Optional(Type.Integer()),
    sso_time: Type.Optional(Type.Integer()),
    sso_iss: Type.Optional(Type.String()),
    epoch: Type.Integer()
  },
  { title: 'ActiveToken' }
)

const INTROSPECT_TOKEN = {
  config: {
    limit: 'address',
    act: 'token.introspect',
    credentials: { apiKey: ['introspect'] }
  },
  schema: {
    operationId: 'introspectToken',
    summary: 'Introspect an access token',
    description:
      'Returns the claims of an access token and the current role and e-mail address of its user (RFC 7662). `active` is false if the token has expired, was issued before a reset or before the user was disabled, belongs to another account, or is not one of our access tokens. The body is a form, as RFC 7662 requires, or JSON.',
    tags: ['Discovery'],
    consumes: ['application/x-www-form-urlencoded', 'application/json'],
    body: IntrospectBody,
    response: { 200: Type.Union([Active, Inactive]) }
  }
} as const satisfies RouteDefinition

const introspectRoutes: FastifyPluginAsyncTypebox<IntrospectOptions> = async (
  app,
  { tokens, subjects }
) => {
  await app.register(formbody)

  app.post('/v1/introspect', INTROSPECT_TOKEN, introspectToken)

  async function introspectToken(request: RequestOf<typeof INTROSPECT_TOKEN>) {
    const { accountId } = request.credentialOf('apiKey')
    const claims = await tokens.readAccessToken(request, request.body.token)
    if (!claims || claims.account !== accountId) return { active: false as const }
    const subject = await subjects.findTokenOwner(claims)
    if (!subject) return { active: false as const }
    const { role, email } = subject
    return {
      ...claims,
      active: true as const,
      token_type: 'Bearer' as const,
      username: email,
      role,
      email
    }
  }
}

export default introspectRoutes
