// The authenticators of a user after their set-up.
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import { Type } from 'typebox'
import type { Audit } from '../../audit/audit.ts'
import type { AuditDetails } from '../../core/audit/events.ts'
import type { Subject } from '../../data/sign-in/subjects.ts'
import type {
  Authenticators,
  Authenticator as StoredAuthenticator
} from '../../data/users/authenticators.ts'
import { Problem } from '../../wire/problem.ts'
import { refTo } from '../../wire/references.ts'
import { AuthenticatorName, Uuid } from '../../wire/scalars.ts'
import { Authenticator, UserParams } from '../../wire/users.ts'
import { refusedAct } from '../actors.ts'
import type { ReplyOf, RequestOf, RouteDefinition } from '../definitions.ts'
import { targetUser } from './target-user.ts'

interface AuthenticatorsOptions {
  authenticators: Authenticators
  audit: Audit
  now: () => Date
}

const AuthenticatorParams = Type.Object({ ...UserParams.properties, authenticatorId: Uuid })

const LIST_AUTHENTICATORS = {
  config: {
    limit: 'address',
    act: 'authenticator.read',
    credentials: { accessToken: { holder: 'self-or-admin' } },
    problems: ['user-not-found']
  },
  schema: {
    operationId: 'listAuthenticators',
    summary: 'List the authenticators of a user',
    description:
      'Returns the authenticators of a user, oldest first. The list includes a pending authenticator until its set-up expires.',
    tags: ['Users'],
    params: UserParams,
    response: {
      200: Type.Object({ items: Type.Array(refTo(Authenticator)) }, { title: 'AuthenticatorList' })
    }
  }
} as const satisfies RouteDefinition

const RENAME_AUTHENTICATOR = {
  config: {
    limit: 'address',
    act: 'authenticator.rename',
    credentials: { accessToken: { holder: 'self', fresh: 'second-factor' } },
    problems: ['authenticator-not-found', 'name-taken']
  },
  schema: {
    operationId: 'renameAuthenticator',
    summary: 'Rename an authenticator',
    description:
      'Changes the name of an active or a pending authenticator. Tokens of the user stay valid.',
    tags: ['Users'],
    params: AuthenticatorParams,
    body: Type.Object({ name: AuthenticatorName }, { additionalProperties: false }),
    response: { 200: refTo(Authenticator) }
  }
} as const satisfies RouteDefinition

const REMOVE_AUTHENTICATOR = {
  config: {
    limit: 'address',
    act: 'authenticator.remove',
    credentials: { accessToken: { holder: 'self', fresh: 'second-factor' } },
    problems: ['authenticator-not-found', 'policy-requires-authenticator']
  },
  schema: {
    operationId: 'removeAuthenticator',
    summary: 'Remove an authenticator',
    description:
      "Removes an authenticator and revokes all of the user's tokens, including the one in this request, and all trusted devices: sign in again. The user is notified by e-mail; removing the last authenticator turns two-factor off and deletes the recovery codes. The id of a pending authenticator cancels its set-up only, and all tokens stay valid.",
    tags: ['Users'],
    params: AuthenticatorParams,
    response: { 204: Type.Null() }
  }
} as const satisfies RouteDefinition

const authenticatorRoutes: FastifyPluginAsyncTypebox<AuthenticatorsOptions> = async (
  app,
  { authenticators, audit, now }
) => {
  const all = '/v1/users/:userId/authenticators'
  app.get(all, LIST_AUTHENTICATORS, listAuthenticators)
  app.patch(`${all}/:authenticatorId`, RENAME_AUTHENTICATOR, renameAuthenticator)
  app.delete(`${all}/:authenticatorId`, REMOVE_AUTHENTICATOR, removeAuthenticator)

  async function listAuthenticators(request: RequestOf<typeof LIST_AUTHENTICATORS>) {
    const user = targetUser(request.credentialOf('accessToken'), request.params.userId)
    const items = await authenticators.list(user, now())
    if (!items) throw new Problem('user-not-found')
    return { items: items.map(asAnswer) }
  }

  async function renameAuthenticator(request: RequestOf<typeof RENAME_AUTHENTICATOR>) {
    const { subject } = request.credentialOf('accessToken')
    const { name } = request.body
    const event = audit.succeeded(request, { details: { name } })
    const renamed = { id: request.params.authenticatorId, name }
    const outcome = await authenticators.rename(subject, renamed, event)
    if (!outcome.renamed) throw refusedAct(outcome.reason)
    return asAnswer(outcome.authenticator)
  }

  async function removeAuthenticator(
    request: RequestOf<typeof REMOVE_AUTHENTICATOR>,
    reply: ReplyOf<typeof REMOVE_AUTHENTICATOR>
  ) {
    const { subject } = request.credentialOf('accessToken')
    const { authenticatorId } = request.params
    const event = audit.succeeded(request, { details: removalDetails(subject, authenticatorId) })
    const outcome = await authenticators.remove(subject, authenticatorId, event)
    if (outcome !== 'removed') throw refusedAct(outcome)
    return reply.code(204).send(null)
  }
}

export default authenticatorRoutes

// The details are known before the removal: it succeeds only if no authenticator was added or removed since the read.
function removalDetails({ authenticators }: Subject, id: string): AuditDetails {
  const removed = authenticators.find((each) => each.id === id)
  if (!removed) return { state: 'pending' }
  const isLast = authenticators.length === 1
  return { authenticator: removed.name, twoFactor: isLast ? 'off' : 'on' }
}

function asAnswer({ createdAt, confirmedAt, lastUsedAt, ...rest }: StoredAuthenticator) {
  return {
    ...rest,
    createdAt: createdAt.toISOString(),
    confirmedAt: confirmedAt?.toISOString() ?? null,
    lastUsedAt: lastUsedAt?.toISOString() ?? null
  }
}
