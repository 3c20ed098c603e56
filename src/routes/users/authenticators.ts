// A user's authenticators after their set-up: listed, named, removed.
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import { Type } from 'typebox'
import type { Audit } from '../../audit/audit.ts'
import type { AuditDetails } from '../../core/audit/events.ts'
import type { Subject } from '../../data/sign-in/subjects.ts'
import type {
  Authenticators,
  RemoveOutcome,
  RenameOutcome,
  Authenticator as StoredAuthenticator
} from '../../data/users/authenticators.ts'
import { Problem, revokedCredential } from '../../wire/problem.ts'
import { refTo } from '../../wire/references.ts'
import { AuthenticatorName, Uuid } from '../../wire/scalars.ts'
import { Authenticator, UserParams } from '../../wire/users.ts'
import { targetUser } from './target-user.ts'

export interface AuthenticatorsOptions {
  authenticators: Authenticators
  audit: Audit
  now: () => Date
}

const AuthenticatorParams = Type.Object({ ...UserParams.properties, authenticatorId: Uuid })

const authenticatorRoutes: FastifyPluginAsyncTypebox<AuthenticatorsOptions> = async (
  app,
  { authenticators, audit, now }
) => {
  app.get(
    '/v1/users/:userId/authenticators',
    {
      config: {
        limit: 'address',
        act: 'authenticator.read',
        credentials: { accessToken: { holder: 'self-or-admin' } },
        problems: ['user-not-found']
      },
      schema: {
        operationId: 'listAuthenticators',
        summary: "List a user's authenticators, oldest first",
        description: 'With the one that waits for its first code, until its set-up expires.',
        tags: ['Users'],
        params: UserParams,
        response: {
          200: Type.Object({ items: Type.Array(refTo(Authenticator)) })
        }
      }
    },
    async (request) => {
      const user = targetUser(request.credentialOf('accessToken'), request.params.userId)
      const items = await authenticators.list(user, now())
      if (!items) throw new Problem('user-not-found')
      return { items: items.map(asAnswer) }
    }
  )

  app.patch(
    '/v1/users/:userId/authenticators/:authenticatorId',
    {
      config: {
        limit: 'address',
        act: 'authenticator.rename',
        credentials: { accessToken: { holder: 'self', fresh: 'second-factor' } },
        problems: ['authenticator-not-found', 'name-taken']
      },
      schema: {
        operationId: 'renameAuthenticator',
        summary: 'Rename an authenticator',
        tags: ['Users'],
        params: AuthenticatorParams,
        body: Type.Object({ name: AuthenticatorName }, { additionalProperties: false }),
        response: { 200: refTo(Authenticator) }
      }
    },
    async (request) => {
      const { subject } = request.credentialOf('accessToken')
      const { name } = request.body
      const event = audit.succeeded(request, { details: { name } })
      const renamed = { id: request.params.authenticatorId, name }
      const outcome = await authenticators.rename(subject, renamed, event)
      if (!outcome.renamed) throw refusal(outcome.reason)
      return asAnswer(outcome.authenticator)
    }
  )

  app.delete(
    '/v1/users/:userId/authenticators/:authenticatorId',
    {
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
          'Kills every token of before, this one too: sign in again. Trusted devices are trusted no more. With the last one two-factor is off, and recovery codes go with it. The id of a set-up that waits for its first code cancels it; tokens stay alive then.',
        tags: ['Users'],
        params: AuthenticatorParams,
        response: { 204: Type.Null() }
      }
    },
    async (request, reply) => {
      const { subject } = request.credentialOf('accessToken')
      const { authenticatorId } = request.params
      const event = audit.succeeded(request, { details: removalDetails(subject, authenticatorId) })
      const outcome = await authenticators.remove(subject, authenticatorId, event)
      if (outcome !== 'removed') throw refusal(outcome)
      return reply.code(204).send(null)
    }
  )
}

export default authenticatorRoutes

function refusal(
  reason: Extract<RenameOutcome, { renamed: false }>['reason'] | Exclude<RemoveOutcome, 'removed'>
): Problem {
  return reason === 'dead-credential' ? revokedCredential() : new Problem(reason)
}

// Known before the removal: it happens only while no authenticator has come or gone since these were read.
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
