// What hosts need to verify our access tokens by themselves.
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import { Type } from 'typebox'
import { ACR_ONE_FACTOR, ACR_TWO_FACTORS } from '../../core/claims.ts'
import { JWKS_MAX_AGE_SECONDS } from '../../core/signing-key-schedule.ts'
import type { SigningKeyRing } from '../../crypto/signing-key-ring.ts'

export interface DiscoveryOptions {
  issuer: string
  signingKeys: SigningKeyRing
}

/** A new signing key waits for this long before it signs. */
const CACHE = `public, max-age=${JWKS_MAX_AGE_SECONDS}`

const discovery: FastifyPluginAsyncTypebox<DiscoveryOptions> = async (
  app,
  { issuer, signingKeys }
) => {
  app.get(
    '/.well-known/jwks.json',
    {
      config: { limit: 'address', credentials: 'none' },
      schema: {
        operationId: 'getJwks',
        summary: 'The public keys of access tokens (RFC 7517)',
        tags: ['Discovery'],
        response: {
          200: Type.Object({
            keys: Type.Array(
              Type.Object({
                kty: Type.String(),
                crv: Type.String(),
                x: Type.String(),
                y: Type.String(),
                kid: Type.String(),
                alg: Type.Literal('ES256'),
                use: Type.Literal('sig')
              })
            )
          })
        }
      }
    },
    async (_request, reply) => reply.header('cache-control', CACHE).send(signingKeys.jwks())
  )

  app.get(
    '/.well-known/oauth-authorization-server',
    {
      config: { limit: 'address', credentials: 'none' },
      schema: {
        operationId: 'getServerMetadata',
        summary: 'Where the keys and the introspection are (RFC 8414)',
        tags: ['Discovery'],
        response: {
          200: Type.Object({
            issuer: Type.String(),
            jwks_uri: Type.String(),
            introspection_endpoint: Type.String(),
            introspection_endpoint_auth_methods_supported: Type.Array(Type.String()),
            response_types_supported: Type.Array(Type.String()),
            grant_types_supported: Type.Array(Type.String()),
            acr_values_supported: Type.Array(Type.String()),
            service_documentation: Type.String()
          })
        }
      }
    },
    async (_request, reply) =>
      reply.header('cache-control', CACHE).send({
        issuer,
        jwks_uri: `${issuer}/.well-known/jwks.json`,
        introspection_endpoint: `${issuer}/v1/introspect`,
        introspection_endpoint_auth_methods_supported: ['bearer'],
        // RFC 8414 requires the member; there is no authorization endpoint here, so nothing to list.
        response_types_supported: [],
        grant_types_supported: [],
        acr_values_supported: [ACR_ONE_FACTOR, ACR_TWO_FACTORS],
        service_documentation: `${issuer}/docs`
      })
  )
}

export default discovery
