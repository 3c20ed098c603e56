// Why one user is asked for what they are asked for.
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import { Type } from 'typebox'
import { type Demands, decide, enforcedFrom, isTwoFactorRequired } from '../../core/policy.ts'
import { twoFactorFacts } from '../../core/two-factor.ts'
import type { Policies } from '../../data/policy/policies.ts'
import type { RosterUser } from '../../data/users/roster.ts'
import type { Users } from '../../data/users/users.ts'
import { MandateAnswer, mandateAnswer } from '../../wire/mandate.ts'
import { Problem } from '../../wire/problem.ts'
import { Instant, Nullable, Uuid } from '../../wire/scalars.ts'
import { DecisionReason } from '../../wire/sign-in.ts'
import { UserParams } from '../../wire/users.ts'
import { targetUser } from './target-user.ts'

export interface UserPolicyOptions {
  users: Users
  policies: Policies
  now: () => Date
}

const UserPolicyAnswer = Type.Object({
  userId: Uuid,
  outcome: Type.Enum(['authenticated', 'verification_required', 'enrollment_required'], {
    description: 'What a right first step leads to now, on no trusted device.'
  }),
  reason: DecisionReason,
  required: Type.Boolean({ description: 'Whether this user may not go without.' }),
  exempt: Type.Boolean({ description: 'Whether single sign-on stands in for the code.' }),
  requiredFrom: Nullable(
    Type.String({
      ...Instant,
      description: 'From when on a user without an authenticator is led through the set-up.'
    })
  ),
  mandate: MandateAnswer
})

const userPolicy: FastifyPluginAsyncTypebox<UserPolicyOptions> = async (
  app,
  { users, policies, now }
) => {
  app.get(
    '/v1/users/:userId/policy',
    {
      config: {
        limit: 'address',
        act: 'policy.read',
        credentials: { apiKey: ['policy:read'], accessToken: { holder: 'self-or-admin' } },
        problems: ['user-not-found']
      },
      schema: {
        operationId: 'explainPolicy',
        summary: 'Say what the policy comes to for one user, and why',
        tags: ['Policy'],
        params: UserParams,
        response: { 200: UserPolicyAnswer }
      }
    },
    async (request) => {
      const credential = request.credentialOf('apiKey', 'accessToken')
      const user = await users.find(targetUser(credential, request.params.userId))
      if (!user) throw new Problem('user-not-found')
      return asAnswer(user, await policies.find(user.accountId), now())
    }
  )
}

export default userPolicy

function asAnswer(user: RosterUser, { policy, mandate }: Demands, now: Date) {
  const demands = { policy, mandate, now }
  const { isExempt: exempt, isEnrolled: hasAuthenticator } = twoFactorFacts(user, policy.sso, now)
  const { outcome, reason } = decide({
    ...demands,
    user: { hasAuthenticator },
    arrival: exempt ? 'sso' : 'password',
    hasTrustedDevice: false
  })
  return {
    ...{ userId: user.id, outcome, reason, exempt },
    required: isTwoFactorRequired(demands),
    requiredFrom: enforcedFrom(demands)?.toISOString() ?? null,
    mandate: mandateAnswer(mandate, now)
  }
}
