// Accounts belong to the operator: a new one comes with its first API key, which is shown only then.
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import { Type } from 'typebox'
import type { Audit } from '../../audit/audit.ts'
import { formatBearerKey, hashBearerSecret, SCOPES } from '../../core/bearer-keys.ts'
import { UUID_FORM } from '../../core/ids.ts'
import { pageAnswer } from '../../core/lists/pages.ts'
import { generateId } from '../../crypto/ids.ts'
import { generateBearerKey } from '../../crypto/secrets.ts'
import type { Account, Accounts } from '../../data/accounts/accounts.ts'
import type { Policies } from '../../data/policy/policies.ts'
import type { CredentialRule } from '../../plugins/credentials.ts'
import { NextCursor, PageQuery, pageRequestOf } from '../../wire/lists.ts'
import { MandateAnswer, mandateAnswer } from '../../wire/mandate.ts'
import { Problem } from '../../wire/problem.ts'
import {
  Audience,
  GivenReason,
  Instant,
  instantOf,
  Name,
  Nullable,
  ScopeList,
  Slug,
  Uuid
} from '../../wire/scalars.ts'

export interface AccountsOptions {
  accounts: Accounts
  policies: Policies
  audit: Audit
  now: () => Date
}

const OPERATOR = { operator: true } as const satisfies CredentialRule

const AccountAnswer = Type.Object({
  id: Uuid,
  slug: Slug,
  name: Name,
  audience: Audience,
  createdAt: Instant
})

const NewAccountAnswer = Type.Object({
  ...AccountAnswer.properties,
  apiKey: Type.Object({
    id: Type.String(),
    key: Type.String({ description: 'Every scope; shown only here.' }),
    name: Name,
    scopes: ScopeList,
    createdAt: Instant
  })
})

const AccountParams = Type.Object({ accountId: Uuid })

const accounts: FastifyPluginAsyncTypebox<AccountsOptions> = async (
  app,
  { accounts, policies, audit, now }
) => {
  app.post(
    '/v1/accounts',
    {
      config: {
        limit: 'address',
        act: 'account.create',
        credentials: OPERATOR,
        problems: ['slug-taken']
      },
      schema: {
        operationId: 'createAccount',
        summary: 'Create an account and its first API key',
        tags: ['Operator'],
        body: Type.Object(
          { slug: Slug, name: Name, audience: Type.Optional(Audience) },
          { additionalProperties: false }
        ),
        response: { 201: NewAccountAnswer }
      }
    },
    async (request, reply) => {
      const { slug, name, audience } = request.body
      const id = generateId()
      const createdAt = now()
      const bearerKey = generateBearerKey('api')
      const apiKey = { id: bearerKey.id, name: 'First key', scopes: [...SCOPES], createdAt }
      const account = await accounts.create(
        { id, slug, name, audience: audience ?? `urn:twostep:account:${id}`, createdAt },
        { ...apiKey, secretHash: hashBearerSecret(bearerKey.secret), expiresAt: null },
        audit.succeeded(request, {
          accountId: id,
          target: { kind: 'account', id },
          details: { slug, name, apiKey: apiKey.id }
        })
      )
      if (!account) throw new Problem('slug-taken')
      return reply.code(201).send({
        ...asAnswer(account),
        apiKey: {
          ...apiKey,
          key: formatBearerKey(bearerKey),
          createdAt: createdAt.toISOString()
        }
      })
    }
  )

  app.get(
    '/v1/accounts',
    {
      config: { limit: 'address', act: 'account.read', credentials: OPERATOR },
      schema: {
        operationId: 'listAccounts',
        summary: 'List the accounts, oldest first',
        tags: ['Operator'],
        querystring: PageQuery,
        response: { 200: Type.Object({ items: Type.Array(AccountAnswer), nextCursor: NextCursor }) }
      }
    },
    async (request) => {
      const page = await accounts.list(pageRequestOf(request.query, UUID_FORM))
      return pageAnswer(page, asAnswer)
    }
  )

  app.get(
    '/v1/accounts/:accountId',
    {
      config: {
        limit: 'address',
        act: 'account.read',
        credentials: OPERATOR,
        problems: ['account-not-found']
      },
      schema: {
        operationId: 'getAccount',
        summary: 'Read an account',
        tags: ['Operator'],
        params: AccountParams,
        response: { 200: AccountAnswer }
      }
    },
    async (request) => {
      const account = await accounts.find(request.params.accountId)
      if (!account) throw new Problem('account-not-found')
      return asAnswer(account)
    }
  )

  app.patch(
    '/v1/accounts/:accountId',
    {
      config: {
        limit: 'address',
        act: 'account.change',
        credentials: OPERATOR,
        problems: ['account-not-found']
      },
      schema: {
        operationId: 'changeAccount',
        summary: 'Change the name or the audience of an account',
        tags: ['Operator'],
        params: AccountParams,
        body: Type.Object(
          { name: Type.Optional(Name), audience: Type.Optional(Audience) },
          { additionalProperties: false, minProperties: 1 }
        ),
        response: { 200: AccountAnswer }
      }
    },
    async (request) => {
      const { accountId } = request.params
      const event = audit.succeeded(request, { accountId, details: { ...request.body } })
      const account = await accounts.change(accountId, request.body, event)
      if (!account) throw new Problem('account-not-found')
      return asAnswer(account)
    }
  )

  app.put(
    '/v1/accounts/:accountId/mandate',
    {
      config: {
        limit: 'address',
        act: 'mandate.set',
        credentials: OPERATOR,
        problems: ['account-not-found']
      },
      schema: {
        operationId: 'setMandate',
        summary: 'Require two-factor of an account from an instant on',
        description:
          'From then on the account can’t switch it off; before, users are let in and told of the date. An instant that is past holds at once; null lifts the mandate. Single sign-on stays exempt.',
        tags: ['Operator'],
        params: AccountParams,
        body: Type.Object(
          { requiredFrom: Nullable(Instant), reason: Type.Optional(GivenReason) },
          { additionalProperties: false }
        ),
        response: { 200: MandateAnswer }
      }
    },
    async (request) => {
      const { accountId } = request.params
      const { requiredFrom, reason = null } = request.body
      const mandate =
        requiredFrom === null
          ? null
          : { requiredFrom: instantOf(requiredFrom, '/requiredFrom'), reason }
      const event = audit.succeeded(request, { accountId, reason, details: { requiredFrom } })
      const stored = await policies.mandate(accountId, mandate, event)
      if (!stored) throw new Problem('account-not-found')
      return mandateAnswer(stored.mandate, now())
    }
  )
}

export default accounts

function asAnswer({ createdAt, ...account }: Account) {
  return { ...account, createdAt: createdAt.toISOString() }
}
