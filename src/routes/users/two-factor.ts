// Turning two-factor off, which users may do while the account does not require it.
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import { Type } from 'typebox'
import type { Audit } from '../../audit/audit.ts'
import type { TwoFactor } from '../../data/users/two-factor.ts'
import { Problem, revokedCredential } from '../../wire/problem.ts'
import { UserParams } from '../../wire/users.ts'
import type { ReplyOf, RequestOf, RouteDefinition } from '../definitions.ts'

interface TwoFactorOptions {
  twoFactor: TwoFactor
  audit: Audit
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
      "Removes all authenticators, recovery codes and trusted devices of the user, and notifies the user by e-mail. Revokes all of the user's tokens, including the one in this request: sign in again. Nothing changes if two-factor is already off.",
    tags: ['Users'],
    params: UserParams,
    response: { 204: Type.Null() }
  }
} as const satisfies RouteDefinition

const twoFactorRoutes: FastifyPluginAsyncTypebox<TwoFactorOptions> = async (
  app,
  { twoFactor, audit }
) => {
  app.delete('/v1/users/:userId/two-factor', TURN_OFF_TWO_FACTOR, turnOffTwoFactor)

  async function turnOffTwoFactor(
    request: RequestOf<typeof TURN_OFF_TWO_FACTOR>,
    reply: ReplyOf<typeof TURN_OFF_TWO_FACTOR>
  ) {
    const { subject } = request.credentialOf('accessToken')
    const outcome = await twoFactor.turnOff(subject, audit.succeeded(request))
    if (outcome === 'invalid-credential') throw revokedCredential()
    if (outcome !== 'removed') throw new Problem(outcome)
    return reply.code(204).send(null)
  }
}

export default twoFactorRoutes
