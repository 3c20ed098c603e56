// The documents that a host needs to verify access tokens by itself.
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import type { FastifyRequest } from 'fastify'
import { Type } from 'typebox'
import { ACR_ONE_FACTOR, ACR_TWO_FACTORS } from '../../core/claims.ts'
import { JWKS_MAX_AGE_SECONDS } from '../../core/signing-key-schedule.ts'
import type { SigningKeyRing } from '../../crypto/signing-key-ring.ts'
import type { ReplyOf, RouteDefinition } from '../definitions.ts'

interface DiscoveryOptions {
  issuer: string
  signingKeys: SigningKeyRing
}

/** A new signing key is published for at least this long before it signs, so a cached JWKS always has the key. */
const CACHE_CONTROL = `public, max-age=${JWKS_MAX_AGE_SECONDS}`

const PublicKey = Type.Object(
  {
    kty: Type.String(),
    crv: Type.String(),
    x: Type.String(),
    y: Type.String(),
    kid: Type.String(),
    alg: Type.Literal('ES256'),
    use: Type.Literal('sig')
  },
  { title: 'PublicKey' }
)

const ServerMetadata = Type.Object(
  {
    issuer: Type.String(),
    jwks_uri: Type.String(),
    introspection_endpoint: Type.String(),
    introspection_endpoint_auth_methods_supported: Type.Array(Type.String()),
    response_types_supported: Type.Array(Type.String()),
    grant_types_supported: Type.Array(Type.String()),
    acr_values_supported: Type.Array(Type.String()),
    service_documentation: Type.String()
  },
  { title: 'ServerMetadata' }
)

const GET_JWKS = {
  config: { limit: 'address', credentials: 'none' },
  schema: {
    operationId: 'getJwks',
    summary: 'Read the public keys',
    description:
      'Returns the JSON Web Key Set (RFC 7517) with the public keys of access tokens. Cache it as `Cache-Control` allows: a new key is published before it signs.',
    tags: ['Discovery'],
    response: { 200: Type.Object({ keys: Type.Array(PublicKey) }, { title: 'KeySet' }) }
  }
} as const satisfies RouteDefinition

const GET_SERVER_METADATA = {
  config: { limit: 'address', credentials: 'none' },
  schema: {
    operationId: 'getServerMetadata',
    summary: 'Read the server metadata',
    description:
      'Returns the authorization server metadata (RFC 8414) with the URLs of the public keys and of the introspection.',
    tags: ['Discovery'],
    response: { 200: ServerMetadata }
  }
} as const satisfies RouteDefinition

const discoveryRoutes: FastifyPluginAsyncTypebox<DiscoveryOptions> = async (
  app,
  { issuer, signingKeys }
) => {
  app.get('/.well-known/jwks.json', GET_JWKS, getJwks)
  app.get('/.well-known/oauth-authorization-server', GET_SERVER_METADATA, getServerMetadata)

  async function getJwks(_request: FastifyRequest, reply: ReplyOf<typeof GET_JWKS>) {
    return reply.header('cache-control', CACHE_CONTROL).send(signingKeys.jwks())
  }

  async function getServerMetadata(
    _request: FastifyRequest,
    reply: ReplyOf<typeof GET_SERVER_METADATA>
  ) {
    return reply.header('cache-control', CACHE_CONTROL).send({
      issuer,
      jwks_uri: `${issuer}/.well-known/jwks.json`,
      introspection_endpoint: `${issuer}/v1/introspect`,
      introspection_endpoint_auth_methods_supported: ['bearer'],
      // RFC 8414 requires this member. The service has no authorization endpoint, so the list is empty.
      response_types_supported: [],
      grant_types_supported: [],
      acr_values_supported: [ACR_ONE_FACTOR, ACR_TWO_FACTORS],
      service_documentation: `${issuer}/docs`
    })
  }
}

export default discoveryRoutes
