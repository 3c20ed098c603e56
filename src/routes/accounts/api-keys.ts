// API keys of back-end services. The operator manages the keys of every account, and an API key with `keys:write` manages
// the keys of its own account.
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import { Type } from 'typebox'
import type { Audit } from '../../audit/audit.ts'
import { BEARER_KEY_ID_FORM, formatBearerKey, hashBearerSecret } from '../../core/bearer-keys.ts'
import { pageAnswer } from '../../core/lists/pages.ts'
import type { ApiKeyMaker } from '../../crypto/api-keys.ts'
import type { Accounts } from '../../data/accounts/accounts.ts'
import type { ApiKey, ApiKeys, KeyMaker } from '../../data/accounts/api-keys.ts'
import type { Credential, CredentialRule } from '../../plugins/credentials.ts'
import { NextCursor, PageQuery, pageRequestOf } from '../../wire/lists.ts'
import { invalidMember, Problem, revokedCredential } from '../../wire/problem.ts'
import { IdempotencyKey } from '../../wire/repeated-requests.ts'
import { Instant, instantOf, Name, Nullable, ScopeList, Uuid } from '../../wire/scalars.ts'
import type { ReplyOf, RequestOf, RouteDefinition } from '../definitions.ts'
import { requireScopes } from '../scopes.ts'

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
    expiresAt: Type.Optional(
      Type.Unsafe<string>({
        ...Instant,
        description:
          'When the key expires. A key that an API key creates expires with that API key, unless this is earlier.'
      })
    )
  },
  { title: 'NewApiKey', additionalProperties: false }
)

const CreatedBy = Type.Object(
  { kind: Type.Enum(['operator', 'api_key']), id: Type.String() },
  { title: 'KeyCreator', description: 'The credential that created the key.' }
)

const NewApiKeyAnswer = Type.Object(
  {
    id: Type.String(),
    key: Type.String({ description: 'The key itself. It is shown only here.' }),
    name: Name,
    scopes: ScopeList,
    createdAt: Instant,
    expiresAt: Nullable(Instant),
    createdBy: Nullable(CreatedBy)
  },
  { title: 'CreatedApiKey' }
)

const ApiKeyAnswer = Type.Object(
  {
    id: Type.String(),
    accountId: Uuid,
    name: Name,
    scopes: ScopeList,
    createdAt: Instant,
    expiresAt: Nullable(Instant),
    lastUsedAt: Nullable(Instant),
    createdBy: Nullable(CreatedBy)
  },
  { title: 'ApiKey' }
)

const CREATE_API_KEY = {
  config: {
    limit: 'address',
    act: 'api_key.create',
    credentials: KEY_MANAGERS,
    repeatable: true,
    problems: ['account-not-found', 'too-many-generations']
  },
  schema: {
    operationId: 'createApiKey',
    summary: 'Create an API key',
    description:
      'Creates an API key and shows it only in this response. With the operator key, `accountId` is required and names the account. An API key creates keys for its own account only, with scopes that it has itself, and with no later `expiresAt` than its own. Keys can create keys for at most 16 generations. The admins of the account are notified by e-mail.',
    tags: ['API keys'],
    headers: IdempotencyKey,
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
    response: {
      200: Type.Object(
        { items: Type.Array(ApiKeyAnswer), nextCursor: NextCursor },
        { title: 'ApiKeyPage' }
      )
    }
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
    description:
      'Deletes an API key. Later requests with the key are rejected immediately. An API key revokes only keys whose scopes it has itself. The admins of the account are notified by e-mail.',
    tags: ['API keys'],
    params: Type.Object({ apiKeyId: Type.String({ pattern: BEARER_KEY_ID_FORM.source }) }),
    querystring: Type.Object(
      {
        descendants: Type.Optional(
          Type.Boolean({
            description:
              'Whether to revoke also the keys that the key created, the keys that those created, and so on. This works also for a key that was already revoked.'
          })
        )
      },
      { additionalProperties: false }
    ),
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
    const { name, scopes } = request.body
    const credential = request.credentialOf('operator', 'apiKey')
    const accountId = targetAccount(credential, request.body.accountId)
    requireScopes(credential, scopes)
    const expiresAt = expiryOf(credential, request.body.expiresAt)
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
      expiresAt,
      createdBy: makerOf(credential)
    }
    const event = audit.succeeded(request, {
      accountId,
      target: { kind: 'api_key', id },
      details: { name, scopes, expiresAt: expiresAt?.toISOString() ?? null }
    })
    const bodyOf = (created: ApiKey) => ({ ...asAnswer(created), key: formatBearerKey(bearerKey) })
    const created = await apiKeys.create(apiKey, event, request.responseKeeper(bodyOf))
    if (created === 'maker-revoked') throw revokedCredential()
    if (created === 'too-many-generations') throw new Problem(created)
    return reply.code(201).send(bodyOf(created))
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
    const family = {
      id: request.params.apiKeyId,
      withDescendants: request.query.descendants ?? false
    }
    const within = credential.kind === 'operator' ? null : credential.accountId
    const found = await apiKeys.findFamily(within, family)
    const accountId = found[0]?.accountId
    if (accountId === undefined) throw new Problem('not-found')
    requireScopes(
      credential,
      found.flatMap(({ scopes }) => scopes)
    )
    const isRevoked = await apiKeys.revoke(accountId, family, (id) =>
      audit.succeeded(request, { accountId, target: { kind: 'api_key', id } })
    )
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

function makerOf({ kind, id }: KeyManager): KeyMaker {
  return { kind: kind === 'operator' ? kind : 'api_key', id }
}

/** A key must not outlive the API key that creates it. Throws `invalid-request` for a later expiry. */
function expiryOf(credential: KeyManager, wanted: string | undefined): Date | null {
  const expiresAt = wanted === undefined ? null : instantOf(wanted, '/expiresAt')
  const latest = credential.kind === 'operator' ? null : credential.expiresAt
  if (latest === null || (expiresAt && expiresAt <= latest)) return expiresAt
  if (expiresAt === null) return latest
  throw invalidMember(
    '/expiresAt',
    `must not be later than ${latest.toISOString()}, when the API key of this request expires`
  )
}

function asAnswer({ createdAt, expiresAt, lastUsedAt, ...apiKey }: ApiKey) {
  return {
    ...apiKey,
    createdAt: createdAt.toISOString(),
    expiresAt: expiresAt?.toISOString() ?? null,
    lastUsedAt: lastUsedAt?.toISOString() ?? null
  }
}
