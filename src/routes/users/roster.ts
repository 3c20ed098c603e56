// The roster: the users of the account with their two-factor state, for its admins and its back end. Users read their own
// entry.
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import { Type } from 'typebox'
import { UUID_FORM } from '../../core/ids.ts'
import { pageAnswer } from '../../core/lists/pages.ts'
import { TWO_FACTOR_FILTERS } from '../../core/two-factor/states.ts'
import type { Policies } from '../../data/policy/policies.ts'
import type { Users } from '../../data/users/users.ts'
import { NextCursor, PageQuery, pageRequestOf } from '../../wire/lists.ts'
import { Problem } from '../../wire/problem.ts'
import { refTo } from '../../wire/references.ts'
import { SearchText } from '../../wire/scalars.ts'
import { User, UserParams } from '../../wire/users.ts'
import type { RequestOf, RouteDefinition } from '../definitions.ts'
import { targetUser } from './target-user.ts'
import { createUserAnswers, userAnswer } from './user-answer.ts'

interface RosterOptions {
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
          'Only users in this state. `locked`: codes are not accepted for a while, or until a reset; these users are `enabled` too. `exempt`: single sign-on replaces the code.'
      })
    ),
    q: Type.Optional(
      Type.Unsafe<string>({
        ...SearchText,
        description:
          'Only users whose e-mail address or `externalId` contains this text. Case is ignored.'
      })
    )
  },
  { additionalProperties: false }
)

const LIST_USERS = {
  config: {
    limit: 'address',
    act: 'user.read',
    credentials: { apiKey: ['users:read'], accessToken: { holder: 'admin' } }
  },
  schema: {
    operationId: 'listUsers',
    summary: 'List the users',
    description:
      'Returns one page of the users of the account with their two-factor state, oldest first.',
    tags: ['Users'],
    querystring: RosterQuery,
    response: {
      200: Type.Object(
        { items: Type.Array(refTo(User)), nextCursor: NextCursor },
        { title: 'UserPage' }
      )
    }
  }
} as const satisfies RouteDefinition

const GET_USER = {
  config: {
    limit: 'address',
    act: 'user.read',
    credentials: { apiKey: ['users:read'], accessToken: { holder: 'self-or-admin' } },
    problems: ['user-not-found']
  },
  schema: {
    operationId: 'getUser',
    summary: 'Read a user',
    description: 'Returns a user with the two-factor state, as in the list of users.',
    tags: ['Users'],
    params: UserParams,
    response: { 200: refTo(User) }
  }
} as const satisfies RouteDefinition

const rosterRoutes: FastifyPluginAsyncTypebox<RosterOptions> = async (
  app,
  { users, policies, now }
) => {
  const asAnswer = createUserAnswers({ policies, now })

  app.get('/v1/users', LIST_USERS, listUsers)
  app.get('/v1/users/:userId', GET_USER, getUser)

  async function listUsers(request: RequestOf<typeof LIST_USERS>) {
    const accountId = request.credentialOf('apiKey', 'accessToken').accountId
    const { twoFactor = null, q = null } = request.query
    const at = now()
    const demands = await policies.find(accountId)
    const asked = { ...pageRequestOf(request.query, UUID_FORM), twoFactor, q, now: at }
    const page = await users.list(accountId, { ...asked, policy: demands.policy })
    return pageAnswer(page, (user) => userAnswer(user, demands, at))
  }

  async function getUser(request: RequestOf<typeof GET_USER>) {
    const credential = request.credentialOf('apiKey', 'accessToken')
    const user = await users.find(targetUser(credential, request.params.userId))
    if (!user) throw new Problem('user-not-found')
    return asAnswer(user)
  }
}

export default rosterRoutes
