// API keys of back-end services. The operator manages the keys of every account, and an API key with `keys:write` manages
// the keys of its own account.
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import { Type } from 'typebox'
import type { Audit } from '../../audit/audit.ts'
import { BEARER_KEY_ID_FORM, formatBearerKey, hashBearerSecret } from '../../core/bearer-keys.ts'
import { pageAnswer } from '../../core/lists/pages.ts'
import type { ApiKeyMaker } from '../../crypto/api-keys.ts'
import type { Accounts } from '../../data/accounts/accounts.ts'
import type { ApiKey, ApiKeys } from '../../data/accounts/api-keys.ts'
import type { Credential, CredentialRule } from '../../plugins/credentials.ts'
import { NextCursor, PageQuery, pageRequestOf } from '../../wire/lists.ts'
import { invalidMember, Problem } from '../../wire/problem.ts'
import { Instant, instantOf, Name, Nullable, ScopeList, Uuid } from '../../wire/scalars.ts'
import type { ReplyOf, RequestOf, RouteDefinition } from '../definitions.ts'

interface ApiKeysOptions {
  accounts: Accounts
  apiKeys: ApiKeys
  apiKeyMaker: ApiKeyMaker
  audit: Audit
  now: () => Date
}

const KEY_MANAGERS = {
  operator: true,
  apiKey: ['keys:write']
} as const satisfies CredentialRule

type KeyManager = Extract<Credential, { kind: 'operator' | 'apiKey' }>

const NewApiKeyBody = Type.Object(
  {
    accountId: Type.Optional(Uuid),
    name: Name,
    scopes: ScopeList,
    expiresAt: Type.Optional(Instant)
  },
  { additionalProperties: false }
)

const NewApiKeyAnswer = Type.Object({
  id: Type.String(),
  key: Type.String({ description: 'The key itself. It is shown only here.' }),
  name: Name,
  scopes: ScopeList,
  createdAt: Instant,
  expiresAt: Nullable(Instant)
})

const ApiKeyAnswer = Type.Object({
  id: Type.String(),
  accountId: Uuid,
  name: Name,
  scopes: ScopeList,
  createdAt: Instant,
  expiresAt: Nullable(Instant),
  lastUsedAt: Nullable(Instant)
})

const CREATE_API_KEY = {
  config: {
    limit: 'address',
    act: 'api_key.create',
    credentials: KEY_MANAGERS,
    problems: ['account-not-found']
  },
  schema: {
    operationId: 'createApiKey',
    summary: 'Create an API key',
    description:
      'Creates an API key and shows it only in this response. With the operator key, `accountId` is required and names the account. An API key creates keys for its own account only, with scopes that it has itself.',
    tags: ['API keys'],
    body: NewApiKeyBody,
    response: { 201: NewApiKeyAnswer }
  }
} as const satisfies RouteDefinition

const LIST_API_KEYS = {
  config: {
    limit: 'address',
    act: 'api_key.read',
    credentials: KEY_MANAGERS,
    problems: ['account-not-found']
  },
  schema: {
    operationId: 'listApiKeys',
    summary: 'List API keys',
    description:
      'Returns one page of API keys with the time of their last use, but never the keys themselves. With the operator key and without `accountId`, the list covers all accounts.',
    tags: ['API keys'],
    querystring: Type.Object(
      { ...PageQuery.properties, accountId: Type.Optional(Uuid) },
      { additionalProperties: false }
    ),
    response: { 200: Type.Object({ items: Type.Array(ApiKeyAnswer), nextCursor: NextCursor }) }
  }
} as const satisfies RouteDefinition

const REVOKE_API_KEY = {
  config: {
    limit: 'address',
    act: 'api_key.revoke',
    credentials: KEY_MANAGERS,
    problems: ['not-found']
  },
  schema: {
    operationId: 'revokeApiKey',
    summary: 'Revoke an API key',
    description: 'Deletes an API key. Later requests with the key are rejected immediately.',
    tags: ['API keys'],
    params: Type.Object({ apiKeyId: Type.String({ pattern: BEARER_KEY_ID_FORM.source }) }),
    response: { 204: Type.Null() }
  }
} as const satisfies RouteDefinition

const apiKeyRoutes: FastifyPluginAsyncTypebox<ApiKeysOptions> = async (
  app,
  { accounts, apiKeys, apiKeyMaker, audit, now }
) => {
  app.post('/v1/api-keys', CREATE_API_KEY, createApiKey)
  app.get('/v1/api-keys', LIST_API_KEYS, listApiKeys)
  app.delete('/v1/api-keys/:apiKeyId', REVOKE_API_KEY, revokeApiKey)

  async function createApiKey(
    request: RequestOf<typeof CREATE_API_KEY>,
    reply: ReplyOf<typeof CREATE_API_KEY>
  ) {
    const { name, scopes, expiresAt = null } = request.body
    const credential = request.credentialOf('operator', 'apiKey')
    const accountId = targetAccount(credential, request.body.accountId)
    requireScopes(credential, scopes)
    if (!(await accounts.find(accountId))) throw new Problem('account-not-found')
    const bearerKey = apiKeyMaker.make()
    const { id } = bearerKey
    const apiKey = {
      accountId,
      id,
      secretHash: hashBearerSecret(bearerKey.secret),
      name,
      scopes,
      createdAt: now(),
      expiresAt: expiresAt === null ? null : instantOf(expiresAt, '/expiresAt')
    }
    const target = { kind: 'api_key', id } as const
    const event = audit.succeeded(request, {
      accountId,
      target,
      details: { name, scopes, expiresAt }
    })
    const created = await apiKeys.create(apiKey, event)
    return reply.code(201).send({ ...asAnswer(created), key: formatBearerKey(bearerKey) })
  }

  async function listApiKeys(request: RequestOf<typeof LIST_API_KEYS>) {
    const credential = request.credentialOf('operator', 'apiKey')
    const { accountId } = request.query
    const ofAccount =
      credential.kind === 'operator' ? (accountId ?? null) : targetAccount(credential, accountId)
    const page = await apiKeys.list(ofAccount, pageRequestOf(request.query, BEARER_KEY_ID_FORM))
    return pageAnswer(page, asAnswer)
  }

  async function revokeApiKey(
    request: RequestOf<typeof REVOKE_API_KEY>,
    reply: ReplyOf<typeof REVOKE_API_KEY>
  ) {
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
}

export default apiKeyRoutes

// The id of another account gets the same response as an unknown id.
function targetAccount(credential: KeyManager, wanted: string | undefined): string {
  if (credential.kind === 'operator') {
    if (wanted !== undefined) return wanted
    throw invalidMember('/accountId', 'is required with the operator key')
  }
  if (wanted === undefined || wanted === credential.accountId) return credential.accountId
  throw new Problem('account-not-found')
}

// A key must not create a key that can do more than itself.
function requireScopes(credential: KeyManager, scopes: readonly string[]): void {
  if (credential.kind === 'operator') return
  if (scopes.every((scope) => credential.scopes.includes(scope))) return
  throw new Problem('insufficient-scope')
}

function asAnswer({ createdAt, expiresAt, lastUsedAt, ...apiKey }: ApiKey) {
  return {
    ...apiKey,
    createdAt: createdAt.toISOString(),
    expiresAt: expiresAt?.toISOString() ?? null,
    lastUsedAt: lastUsedAt?.toISOString() ?? null
  }
}
