// Credentials of back-end services: made by the operator for any account, or by a key that may make keys for its own.
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import { Type } from 'typebox'
import type { Audit } from '../../audit/audit.ts'
import { BEARER_KEY_ID_FORM, formatBearerKey, hashBearerSecret } from '../../core/bearer-keys.ts'
import { pageAnswer } from '../../core/lists/pages.ts'
import { generateBearerKey } from '../../crypto/secrets.ts'
import type { Accounts } from '../../data/accounts/accounts.ts'
import type { ApiKey, ApiKeys } from '../../data/accounts/api-keys.ts'
import type { Credential, CredentialRule } from '../../plugins/credentials.ts'
import { NextCursor, PageQuery, pageRequestOf } from '../../wire/lists.ts'
import { invalidMember, Problem } from '../../wire/problem.ts'
import { Instant, instantOf, Name, Nullable, ScopeList, Uuid } from '../../wire/scalars.ts'

export interface ApiKeysOptions {
  accounts: Accounts
  apiKeys: ApiKeys
  audit: Audit
  now: () => Date
}

const KEY_MAKERS = {
  operator: true,
  apiKey: ['keys:write']
} as const satisfies CredentialRule

const ApiKeyAnswer = Type.Object({
  id: Type.String(),
  accountId: Uuid,
  name: Name,
  scopes: ScopeList,
  createdAt: Instant,
  expiresAt: Nullable(Instant),
  lastUsedAt: Nullable(Instant)
})

const apiKeysRoutes: FastifyPluginAsyncTypebox<ApiKeysOptions> = async (
  app,
  { accounts, apiKeys, audit, now }
) => {
  app.post(
    '/v1/api-keys',
    {
      config: {
        limit: 'address',
        act: 'api_key.create',
        credentials: KEY_MAKERS,
        problems: ['account-not-found']
      },
      schema: {
        operationId: 'createApiKey',
        summary: 'Create an API key',
        description:
          'With the operator key, `accountId` says for which account. An API key makes keys of its own account, with no scope that it lacks itself.',
        tags: ['API keys'],
        body: Type.Object(
          {
            accountId: Type.Optional(Uuid),
            name: Name,
            scopes: ScopeList,
            expiresAt: Type.Optional(Instant)
          },
          { additionalProperties: false }
        ),
        response: {
          201: Type.Object({
            id: Type.String(),
            key: Type.String({ description: 'Shown only here.' }),
            name: Name,
            scopes: ScopeList,
            createdAt: Instant,
            expiresAt: Nullable(Instant)
          })
        }
      }
    },
    async (request, reply) => {
      const { name, scopes, expiresAt } = request.body
      const credential = request.credentialOf('operator', 'apiKey')
      const accountId = targetAccount(credential, request.body.accountId)
      if (
        credential.kind === 'apiKey' &&
        !scopes.every((scope) => credential.scopes.includes(scope))
      ) {
        throw new Problem('insufficient-scope')
      }
      if (!(await accounts.find(accountId))) throw new Problem('account-not-found')
      const bearerKey = generateBearerKey('api')
      const created = await apiKeys.create(
        {
          accountId,
          id: bearerKey.id,
          secretHash: hashBearerSecret(bearerKey.secret),
          name,
          scopes,
          createdAt: now(),
          expiresAt: expiresAt === undefined ? null : instantOf(expiresAt, '/expiresAt')
        },
        audit.succeeded(request, {
          accountId,
          target: { kind: 'api_key', id: bearerKey.id },
          details: { name, scopes, expiresAt: expiresAt ?? null }
        })
      )
      return reply.code(201).send({ ...asAnswer(created), key: formatBearerKey(bearerKey) })
    }
  )

  app.get(
    '/v1/api-keys',
    {
      config: {
        limit: 'address',
        act: 'api_key.read',
        credentials: KEY_MAKERS,
        problems: ['account-not-found']
      },
      schema: {
        operationId: 'listApiKeys',
        summary: 'List API keys, and when each was last used',
        tags: ['API keys'],
        querystring: Type.Object(
          { ...PageQuery.properties, accountId: Type.Optional(Uuid) },
          { additionalProperties: false }
        ),
        response: { 200: Type.Object({ items: Type.Array(ApiKeyAnswer), nextCursor: NextCursor }) }
      }
    },
    async (request) => {
      const credential = request.credentialOf('operator', 'apiKey')
      const { accountId } = request.query
      const ofAccount =
        credential.kind === 'operator' ? (accountId ?? null) : targetAccount(credential, accountId)
      const page = await apiKeys.list(ofAccount, pageRequestOf(request.query, BEARER_KEY_ID_FORM))
      return pageAnswer(page, asAnswer)
    }
  )

  app.delete(
    '/v1/api-keys/:apiKeyId',
    {
      config: {
        limit: 'address',
        act: 'api_key.revoke',
        credentials: KEY_MAKERS,
        problems: ['not-found']
      },
      schema: {
        operationId: 'revokeApiKey',
        summary: 'Revoke an API key at once',
        tags: ['API keys'],
        params: Type.Object({ apiKeyId: Type.String({ pattern: BEARER_KEY_ID_FORM.source }) }),
        response: { 204: Type.Null() }
      }
    },
    async (request, reply) => {
      const credential = request.credentialOf('operator', 'apiKey')
      const { apiKeyId } = request.params
      const within = credential.kind === 'operator' ? null : credential.accountId
      const accountId = await apiKeys.findAccountOf(within, apiKeyId)
      if (accountId === null) throw new Problem('not-found')
      const event = audit.succeeded(request, { accountId })
      const isRevoked = await apiKeys.revoke(accountId, apiKeyId, event)
      if (!isRevoked) throw new Problem('not-found')
      return reply.code(204).send(null)
    }
  )
}

export default apiKeysRoutes

// Another account's id answers as an unknown one does.
function targetAccount(
  credential: Extract<Credential, { kind: 'operator' | 'apiKey' }>,
  wanted: string | undefined
): string {
  if (credential.kind === 'operator') {
    if (wanted !== undefined) return wanted
    throw invalidMember('/accountId', 'is required with the operator key')
  }
  if (wanted === undefined || wanted === credential.accountId) return credential.accountId
  throw new Problem('account-not-found')
}

function asAnswer({ createdAt, expiresAt, lastUsedAt, ...apiKey }: ApiKey) {
  return {
    ...apiKey,
    createdAt: createdAt.toISOString(),
    expiresAt: expiresAt?.toISOString() ?? null,
    lastUsedAt: lastUsedAt?.toISOString() ?? null
  }
}
