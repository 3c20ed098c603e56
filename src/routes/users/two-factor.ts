// Turning two-factor off, which users may do while it is not required of them, and requiring it of one user.
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import { Type } from 'typebox'
import type { Audit } from '../../audit/audit.ts'
import type { Policies } from '../../data/policy/policies.ts'
import type { Requirements } from '../../data/users/requirements.ts'
import type { TwoFactor } from '../../data/users/two-factor.ts'
import { refTo } from '../../wire/references.ts'
import { User, UserParams } from '../../wire/users.ts'
import { actorOf, refusedAct } from '../actors.ts'
import type { ReplyOf, RequestOf, RouteDefinition } from '../definitions.ts'
import { targetUser } from './target-user.ts'
import { createUserAnswers } from './user-answer.ts'

interface TwoFactorOptions {
  twoFactor: TwoFactor
  requirements: Requirements
  policies: Policies
  audit: Audit
  now: () => Date
}

const TURN_OFF_TWO_FACTOR = {
  config: {
    limit: 'address',
    act: 'two_factor.turn_off',
    credentials: { accessToken: { holder: 'self', fresh: 'second-factor' } },
    problems: ['policy-requires-authenticator']
  },
  schema: {
    operationId: 'turnOffTwoFactor',
    summary: 'Turn two-factor off',
    description:
      "Removes all authenticators, recovery codes and trusted devices of the user, and notifies the user by e-mail. Revokes all of the user's tokens, including the one in this request: sign in again. Withdraws the user's own requirement; a requirement of an admin, the policy or the mandate is a 409. Nothing changes if two-factor is already off.",
    tags: ['Users'],
    params: UserParams,
    response: { 204: Type.Null() }
  }
} as const satisfies RouteDefinition

const REQUIRE_TWO_FACTOR = {
  config: {
    limit: 'address',
    act: 'two_factor.require',
    credentials: {
      apiKey: ['users:write'],
      accessToken: {
        holder: 'self-or-admin',
        fresh: { self: 'recent', others: 'second-factor' }
      }
    },
    problems: ['user-not-found', 'policy-requires-authenticator']
  },
  schema: {
    operationId: 'requireTwoFactor',
    summary: 'Require two-factor of a user',
    description:
      'Requires two-factor of one user, whatever the policy says: without an authenticator, the next password sign-in leads to the set-up. A user can withdraw only their own requirement. An admin or an API key can withdraw each requirement, except a set-up that a reset made necessary. The user is notified by e-mail, and nothing happens if the requirement is so already.',
    tags: ['Users'],
    params: UserParams,
    body: Type.Object(
      {
        required: Type.Boolean({
          description: '`true` requires two-factor of the user. `false` withdraws the requirement.'
        })
      },
      { additionalProperties: false }
    ),
    response: { 200: refTo(User) }
  }
} as const satisfies RouteDefinition

const twoFactorRoutes: FastifyPluginAsyncTypebox<TwoFactorOptions> = async (
  app,
  { twoFactor, requirements, policies, audit, now }
) => {
  const asAnswer = createUserAnswers({ policies, now })

  app.put('/v1/users/:userId/two-factor', REQUIRE_TWO_FACTOR, requireTwoFactor)
  app.delete('/v1/users/:userId/two-factor', TURN_OFF_TWO_FACTOR, turnOffTwoFactor)

  async function turnOffTwoFactor(
    request: RequestOf<typeof TURN_OFF_TWO_FACTOR>,
    reply: ReplyOf<typeof TURN_OFF_TWO_FACTOR>
  ) {
    const { subject } = request.credentialOf('accessToken')
    const outcome = await twoFactor.turnOff(subject, audit.succeeded(request))
    if (outcome !== 'removed') throw refusedAct(outcome)
    return reply.code(204).send(null)
  }

  async function requireTwoFactor(request: RequestOf<typeof REQUIRE_TWO_FACTOR>) {
    const { required } = request.body
    const credential = request.credentialOf('apiKey', 'accessToken')
    const key = targetUser(credential, request.params.userId)
    const event = audit.succeeded(request, { details: { required } })
    const outcome = await requirements.require(key, actorOf(credential), required, event)
    if (typeof outcome === 'string') throw refusedAct(outcome)
    return asAnswer(outcome)
  }
}

export default twoFactorRoutes
