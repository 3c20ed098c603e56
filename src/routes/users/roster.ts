// The roster: the account's people with their two-factor state, for its admins and its back end; and each of them, for
// themselves too.
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import { Type } from 'typebox'
import { UUID_FORM } from '../../core/ids.ts'
import { pageAnswer } from '../../core/lists/pages.ts'
import { TWO_FACTOR_FILTERS } from '../../core/two-factor.ts'
import type { Policies } from '../../data/policy/policies.ts'
import type { Users } from '../../data/users/users.ts'
import { NextCursor, PageQuery, pageRequestOf } from '../../wire/lists.ts'
import { Problem } from '../../wire/problem.ts'
import { refTo } from '../../wire/references.ts'
import { SearchText } from '../../wire/scalars.ts'
import { User, UserParams } from '../../wire/users.ts'
import { targetUser } from './target-user.ts'
import { createUserAnswers, userAnswer } from './user-answer.ts'

export interface RosterOptions {
  users: Users
  policies: Policies
  now: () => Date
}

const RosterQuery = Type.Object(
  {
    ...PageQuery.properties,
    twoFactor: Type.Optional(
      Type.Enum(TWO_FACTOR_FILTERS, {
        description:
          'Only users of that state. `locked`: codes are not judged, for a while or until a reset; those users are `enabled` too. `exempt`: single sign-on stands in for the code.'
      })
    ),
    q: Type.Optional(
      Type.Unsafe<string>({
        ...SearchText,
        description:
          'Only users whose e-mail or `externalId` contains this, in upper or lower case.'
      })
    )
  },
  { additionalProperties: false }
)

const rosterRoutes: FastifyPluginAsyncTypebox<RosterOptions> = async (
  app,
  { users, policies, now }
) => {
  const asAnswer = createUserAnswers({ policies, now })

  app.get(
    '/v1/users',
    {
      config: {
        limit: 'address',
        act: 'user.read',
        credentials: { apiKey: ['users:read'], accessToken: { holder: 'admin' } }
      },
      schema: {
        operationId: 'listUsers',
        summary: 'List the users with their two-factor state, oldest first',
        tags: ['Users'],
        querystring: RosterQuery,
        response: {
          200: Type.Object({ items: Type.Array(refTo(User)), nextCursor: NextCursor })
        }
      }
    },
    async (request) => {
      const accountId = request.credentialOf('apiKey', 'accessToken').accountId
      const { twoFactor = null, q = null } = request.query
      const at = now()
      const demands = await policies.find(accountId)
      const asked = { ...pageRequestOf(request.query, UUID_FORM), twoFactor, q, now: at }
      const page = await users.list(accountId, { ...asked, policy: demands.policy })
      return pageAnswer(page, (user) => userAnswer(user, demands, at))
    }
  )

  app.get(
    '/v1/users/:userId',
    {
      config: {
        limit: 'address',
        act: 'user.read',
        credentials: { apiKey: ['users:read'], accessToken: { holder: 'self-or-admin' } },
        problems: ['user-not-found']
      },
      schema: {
        operationId: 'getUser',
        summary: 'Read a user',
        tags: ['Users'],
        params: UserParams,
        response: { 200: refTo(User) }
      }
    },
    async (request) => {
      const credential = request.credentialOf('apiKey', 'accessToken')
      const user = await users.find(targetUser(credential, request.params.userId))
      if (!user) throw new Problem('user-not-found')
      return asAnswer(user)
    }
  )
}

export default rosterRoutes
