// The effect of the policy on one user, with its reason.
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import { Type } from 'typebox'
import { type Demands, enforcedFromFor } from '../../core/policy.ts'
import { twoFactorFacts } from '../../core/two-factor/states.ts'
import type { Policies } from '../../data/policy/policies.ts'
import type { RosterUser } from '../../data/users/roster.ts'
import type { Users } from '../../data/users/users.ts'
import { MandateAnswer, mandateAnswer } from '../../wire/mandate.ts'
import { Problem } from '../../wire/problem.ts'
import { refTo } from '../../wire/references.ts'
import { Instant, Nullable, Uuid } from '../../wire/scalars.ts'
import { DecisionReason } from '../../wire/sign-in.ts'
import { Requirement, UserParams } from '../../wire/users.ts'
import type { RequestOf, RouteDefinition } from '../definitions.ts'
import { targetUser } from './target-user.ts'
import { boundUser, standingOf } from './user-answer.ts'

interface UserPolicyOptions {
  users: Users
  policies: Policies
  now: () => Date
}

const UserPolicyAnswer = Type.Object(
  {
    userId: Uuid,
    outcome: Type.Enum(['authenticated', 'verification_required', 'enrollment_required'], {
      description: 'The result of a correct first step now, without a trusted device.'
    }),
    reason: DecisionReason,
    required: Type.Boolean({ description: 'Whether two-factor is required for this user.' }),
    requirement: Nullable(refTo(Requirement)),
    exempt: Type.Boolean({ description: 'Whether single sign-on replaces the code.' }),
    requiredFrom: Nullable(
      Type.String({
        ...Instant,
        description: 'When a user without an authenticator must set one up, or null for never.'
      })
    ),
    mandate: MandateAnswer
  },
  { title: 'UserPolicy' }
)

const EXPLAIN_POLICY = {
  config: {
    limit: 'address',
    act: 'policy.read',
    credentials: { apiKey: ['policy:read'], accessToken: { holder: 'self-or-admin' } },
    problems: ['user-not-found']
  },
  schema: {
    operationId: 'explainPolicy',
    summary: 'Explain the policy for a user',
    description:
      'Returns the decision that the mandate, the policy and the requirement of the user make for one user, with its reason.',
    tags: ['Policy'],
    params: UserParams,
    response: { 200: UserPolicyAnswer }
  }
} as const satisfies RouteDefinition

const userPolicyRoutes: FastifyPluginAsyncTypebox<UserPolicyOptions> = async (
  app,
  { users, policies, now }
) => {
  app.get('/v1/users/:userId/policy', EXPLAIN_POLICY, explainPolicy)

  async function explainPolicy(request: RequestOf<typeof EXPLAIN_POLICY>) {
    const credential = request.credentialOf('apiKey', 'accessToken')
    const user = await users.find(targetUser(credential, request.params.userId))
    if (!user) throw new Problem('user-not-found')
    return asAnswer(user, await policies.find(user.accountId), now())
  }
}

export default userPolicyRoutes

function asAnswer(user: RosterUser, demands: Demands, now: Date) {
  const facts = twoFactorFacts(user, demands.policy.sso, now)
  return {
    userId: user.id,
    ...standingOf(user, facts, demands, now),
    requiredFrom: enforcedFromFor(boundUser(user), demands)?.toISOString() ?? null,
    mandate: mandateAnswer(demands.mandate, now)
  }
}
