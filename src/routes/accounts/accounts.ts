// Accounts and their mandates, which only the operator manages.
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import { Type } from 'typebox'
import type { Audit } from '../../audit/audit.ts'
import { formatBearerKey, hashBearerSecret, SCOPES } from '../../core/bearer-keys.ts'
import { UUID_FORM } from '../../core/ids.ts'
import { pageAnswer } from '../../core/lists/pages.ts'
import type { ApiKeyMaker } from '../../crypto/api-keys.ts'
import { generateId } from '../../crypto/ids.ts'
import type { Account, Accounts } from '../../data/accounts/accounts.ts'
import type { Policies } from '../../data/policy/policies.ts'
import type { CredentialRule } from '../../plugins/credentials.ts'
import { NextCursor, PageQuery, pageRequestOf } from '../../wire/lists.ts'
import { MandateAnswer, mandateAnswer } from '../../wire/mandate.ts'
import { Problem } from '../../wire/problem.ts'
import { IdempotencyKey } from '../../wire/repeated-requests.ts'
import {
  GivenReason,
  Instant,
  instantOf,
  Name,
  Nullable,
  ScopeList,
  Uuid
} from '../../wire/scalars.ts'
import type { ReplyOf, RequestOf, RouteDefinition } from '../definitions.ts'
import {
  AccountAnswer,
  AccountChangeBody,
  accountAnswer,
  accountChangeOf,
  NewAccountBody
} from './account-fields.ts'

interface AccountsOptions {
  accounts: Accounts
  policies: Policies
  apiKeyMaker: ApiKeyMaker
  audit: Audit
  now: () => Date
}

const OPERATOR = { operator: true } as const satisfies CredentialRule

const AccountParams = Type.Object({ accountId: Uuid })

const NewAccountAnswer = Type.Object(
  {
    ...AccountAnswer.properties,
    apiKey: Type.Object(
      {
        id: Type.String(),
        key: Type.String({ description: 'An API key with every scope. It is shown only here.' }),
        name: Name,
        scopes: ScopeList,
        createdAt: Instant
      },
      { title: 'FirstApiKey' }
    )
  },
  { title: 'CreatedAccount' }
)

const CREATE_ACCOUNT = {
  config: {
    limit: 'address',
    act: 'account.create',
    credentials: OPERATOR,
    repeatable: true,
    problems: ['slug-taken']
  },
  schema: {
    operationId: 'createAccount',
    summary: 'Create an account',
    description:
      'Creates an account and its first API key, which has every scope and is shown only here. Without `audience`, the audience is `urn:twostep:account:<id>`, and without `issuerName`, authenticator apps show the name.',
    tags: ['Operator'],
    headers: IdempotencyKey,
    body: NewAccountBody,
    response: { 201: NewAccountAnswer }
  }
} as const satisfies RouteDefinition

const LIST_ACCOUNTS = {
  config: { limit: 'address', act: 'account.read', credentials: OPERATOR },
  schema: {
    operationId: 'listAccounts',
    summary: 'List the accounts',
    description: 'Returns one page of all accounts, oldest first.',
    tags: ['Operator'],
    querystring: PageQuery,
    response: {
      200: Type.Object(
        { items: Type.Array(AccountAnswer), nextCursor: NextCursor },
        { title: 'AccountPage' }
      )
    }
  }
} as const satisfies RouteDefinition

const GET_ACCOUNT = {
  config: {
    limit: 'address',
    act: 'account.read',
    credentials: OPERATOR,
    problems: ['account-not-found']
  },
  schema: {
    operationId: 'getAccount',
    summary: 'Read an account',
    description:
      'Returns the slug, the name, the audience, the issuer name and the support contact of an account.',
    tags: ['Operator'],
    params: AccountParams,
    response: { 200: AccountAnswer }
  }
} as const satisfies RouteDefinition

const CHANGE_ACCOUNT = {
  config: {
    limit: 'address',
    act: 'account.change',
    credentials: OPERATOR,
    problems: ['account-not-found']
  },
  schema: {
    operationId: 'changeAccount',
    summary: 'Change an account',
    description:
      'Changes the named fields. A new audience applies to access tokens that are issued after the change, and a new issuer name to authenticators that are set up after it. The admins are notified by e-mail.',
    tags: ['Operator'],
    params: AccountParams,
    body: AccountChangeBody,
    response: { 200: AccountAnswer }
  }
} as const satisfies RouteDefinition

const SET_MANDATE = {
  config: {
    limit: 'address',
    act: 'mandate.set',
    credentials: OPERATOR,
    problems: ['account-not-found']
  },
  schema: {
    operationId: 'setMandate',
    summary: 'Set or lift a mandate',
    description:
      'Requires two-factor for the account from `requiredFrom` on; an instant in the past takes effect immediately, and null lifts the mandate. Until then, users can sign in without two-factor and see the date; afterwards, the account cannot turn two-factor off. The admins and the users who have to set it up are notified by e-mail, and single sign-on stays exempt.',
    tags: ['Operator'],
    params: AccountParams,
    body: Type.Object(
      { requiredFrom: Nullable(Instant), reason: Type.Optional(GivenReason) },
      { title: 'MandateChange', additionalProperties: false }
    ),
    response: { 200: MandateAnswer }
  }
} as const satisfies RouteDefinition

const accountRoutes: FastifyPluginAsyncTypebox<AccountsOptions> = async (
  app,
  { accounts, policies, apiKeyMaker, audit, now }
) => {
  app.post('/v1/accounts', CREATE_ACCOUNT, createAccount)
  app.get('/v1/accounts', LIST_ACCOUNTS, listAccounts)
  app.get('/v1/accounts/:accountId', GET_ACCOUNT, getAccount)
  app.patch('/v1/accounts/:accountId', CHANGE_ACCOUNT, changeAccount)
  app.put('/v1/accounts/:accountId/mandate', SET_MANDATE, setMandate)

  async function createAccount(
    request: RequestOf<typeof CREATE_ACCOUNT>,
    reply: ReplyOf<typeof CREATE_ACCOUNT>
  ) {
    const { slug, name, audience, issuerName = null } = request.body
    const { supportUrl = null, supportEmail = null } = accountChangeOf(request.body)
    const id = generateId()
    const createdAt = now()
    const bearerKey = apiKeyMaker.make()
    const operator = { kind: 'operator', id: request.credentialOf('operator').id } as const
    const apiKey = { id: bearerKey.id, name: 'First key', scopes: [...SCOPES], createdAt }
    const event = audit.succeeded(request, {
      accountId: id,
      target: { kind: 'account', id },
      details: { slug, name, apiKey: apiKey.id }
    })
    const bodyOf = (account: Account) => ({
      ...accountAnswer(account),
      apiKey: { ...apiKey, key: formatBearerKey(bearerKey), createdAt: createdAt.toISOString() }
    })
    const account = await accounts.create(
      {
        ...{ id, slug, name, issuerName, supportUrl, supportEmail, createdAt },
        audience: audience ?? `urn:twostep:account:${id}`
      },
      {
        ...apiKey,
        secretHash: hashBearerSecret(bearerKey.secret),
        expiresAt: null,
        createdBy: operator
      },
      event,
      request.responseKeeper(bodyOf)
    )
    if (!account) throw new Problem('slug-taken')
    return reply.code(201).send(bodyOf(account))
  }

  async function listAccounts(request: RequestOf<typeof LIST_ACCOUNTS>) {
    const page = await accounts.list(pageRequestOf(request.query, UUID_FORM))
    return pageAnswer(page, accountAnswer)
  }

  async function getAccount(request: RequestOf<typeof GET_ACCOUNT>) {
    const account = await accounts.find(request.params.accountId)
    if (!account) throw new Problem('account-not-found')
    return accountAnswer(account)
  }

  async function changeAccount(request: RequestOf<typeof CHANGE_ACCOUNT>) {
    const { accountId } = request.params
    const change = accountChangeOf(request.body)
    const event = audit.succeeded(request, { accountId, details: { ...change } })
    const account = await accounts.change(accountId, change, event)
    if (!account) throw new Problem('account-not-found')
    return accountAnswer(account)
  }

  async function setMandate(request: RequestOf<typeof SET_MANDATE>) {
    const { accountId } = request.params
    const { requiredFrom, reason = null } = request.body
    const mandate =
      requiredFrom === null
        ? null
        : { requiredFrom: instantOf(requiredFrom, '/requiredFrom'), reason }
    const event = audit.succeeded(request, { accountId, reason, details: { requiredFrom } })
    const stored = await policies.setMandate(accountId, mandate, event)
    if (!stored) throw new Problem('account-not-found')
    return mandateAnswer(stored.mandate, now())
  }
}

export default accountRoutes
