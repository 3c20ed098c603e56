// The identities of users at the account's identity provider: what single sign-on has linked, and how it is unlinked.
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import { Type } from 'typebox'
import type { Audit } from '../../audit/audit.ts'
import type { SsoLinks, SsoIdentity as StoredIdentity } from '../../data/users/sso-links.ts'
import { invalidMember, Problem } from '../../wire/problem.ts'
import { refTo } from '../../wire/references.ts'
import { Uuid } from '../../wire/scalars.ts'
import { Issuer, SsoIdentity, SsoSubject } from '../../wire/sso.ts'
import { UserParams } from '../../wire/users.ts'
import { actorOf, refusedAct } from '../actors.ts'
import type { ReplyOf, RequestOf, RouteDefinition } from '../definitions.ts'
import { amongOf, requireScopes } from '../scopes.ts'
import { targetUser } from './target-user.ts'

interface SsoIdentitiesOptions {
  ssoLinks: SsoLinks
  audit: Audit
}

const LIST_SSO_IDENTITIES = {
  config: {
    limit: 'address',
    act: 'sso_identity.read',
    credentials: { apiKey: ['users:read'], accessToken: { holder: 'self-or-admin' } },
    problems: ['user-not-found']
  },
  schema: {
    operationId: 'listSsoIdentities',
    summary: 'List SSO identities',
    description:
      'Returns the identities at the identity provider with which a user can sign in, oldest first. Links to a former provider or client are listed too: they work again if the policy names it again.',
    tags: ['Users'],
    params: UserParams,
    response: {
      200: Type.Object({ items: Type.Array(refTo(SsoIdentity)) }, { title: 'SsoIdentityList' })
    }
  }
} as const satisfies RouteDefinition

const LINK_SSO_IDENTITY = {
  config: {
    limit: 'address',
    act: 'sso_identity.link',
    credentials: { apiKey: ['users:write'] },
    problems: ['user-not-found', 'sso-not-enabled', 'sso-identity-taken']
  },
  schema: {
    operationId: 'linkSsoIdentity',
    summary: 'Link an SSO identity',
    description:
      "Links a user to the subject that the account's identity provider uses for them, for a provider that sends no e-mail address or does not verify it. The API key needs the scope `sso:write` in addition to `users:write`, and for an admin also `admins:write`. A link to another subject at this provider is replaced, which revokes the user's tokens. The user is notified by e-mail. If the user has an authenticator, the first sign-in by this identity also requires a code.",
    tags: ['Users'],
    params: UserParams,
    body: Type.Object(
      { subject: SsoSubject, issuer: Type.Optional(Issuer) },
      { additionalProperties: false }
    ),
    response: { 200: refTo(SsoIdentity) }
  }
} as const satisfies RouteDefinition

const UNLINK_SSO_IDENTITY = {
  config: {
    limit: 'address',
    act: 'sso_identity.unlink',
    credentials: {
      apiKey: ['users:write'],
      accessToken: { holder: 'self-or-admin', fresh: 'second-factor' }
    },
    problems: ['user-not-found', 'sso-identity-not-found']
  },
  schema: {
    operationId: 'unlinkSsoIdentity',
    summary: 'Unlink an SSO identity',
    description:
      "Removes the link between a user and an identity at the identity provider, and revokes all of the user's tokens. The user is notified by e-mail. The next single sign-on with a verified e-mail address can link the user again.",
    tags: ['Users'],
    params: Type.Object({ ...UserParams.properties, identityId: Uuid }),
    response: { 204: Type.Null() }
  }
} as const satisfies RouteDefinition

const ssoIdentityRoutes: FastifyPluginAsyncTypebox<SsoIdentitiesOptions> = async (
  app,
  { ssoLinks, audit }
) => {
  app.get('/v1/users/:userId/sso-identities', LIST_SSO_IDENTITIES, listSsoIdentities)
  app.put('/v1/users/:userId/sso-identities', LINK_SSO_IDENTITY, linkSsoIdentity)
  app.delete('/v1/users/:userId/sso-identities/:identityId', UNLINK_SSO_IDENTITY, unlinkSsoIdentity)

  async function listSsoIdentities(request: RequestOf<typeof LIST_SSO_IDENTITIES>) {
    const caller = request.credentialOf('apiKey', 'accessToken')
    const items = await ssoLinks.list(targetUser(caller, request.params.userId))
    if (!items) throw new Problem('user-not-found')
    return { items: items.map(asAnswer) }
  }

  async function linkSsoIdentity(request: RequestOf<typeof LINK_SSO_IDENTITY>) {
    const caller = request.credentialOf('apiKey')
    requireScopes(caller, ['sso:write'])
    const { subject, issuer = null } = request.body
    const user = targetUser(caller, request.params.userId)
    const event = audit.succeeded(request, { details: { subject, issuer } })
    const among = amongOf(caller)
    const outcome = await ssoLinks.link({ ...user, among }, { subject, issuer }, event)
    if (outcome.isLinked) return asAnswer(outcome.identity)
    if (outcome.reason !== 'other-issuer') throw new Problem(outcome.reason)
    throw invalidMember('/issuer', 'must be the issuer of the account policy')
  }

  async function unlinkSsoIdentity(
    request: RequestOf<typeof UNLINK_SSO_IDENTITY>,
    reply: ReplyOf<typeof UNLINK_SSO_IDENTITY>
  ) {
    const caller = request.credentialOf('apiKey', 'accessToken')
    const { userId, identityId } = request.params
    const event = audit.succeeded(request)
    const outcome = await ssoLinks.remove(
      targetUser(caller, userId),
      actorOf(caller),
      identityId,
      event
    )
    if (outcome !== 'removed') throw refusedAct(outcome)
    return reply.code(204).send(null)
  }
}

export default ssoIdentityRoutes

function asAnswer({ id, issuer, subject, email, createdAt, lastUsedAt }: StoredIdentity) {
  return {
    id,
    issuer,
    subject,
    email,
    linkedAt: createdAt.toISOString(),
    lastUsedAt: lastUsedAt?.toISOString() ?? null
  }
}
