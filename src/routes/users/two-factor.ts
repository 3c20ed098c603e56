// Two-factor as a whole, where it is its owner's choice.
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import { Type } from 'typebox'
import type { Audit } from '../../audit/audit.ts'
import type { TwoFactor } from '../../data/users/two-factor.ts'
import { Problem, revokedCredential } from '../../wire/problem.ts'
import { UserParams } from '../../wire/users.ts'

export interface TwoFactorOptions {
  twoFactor: TwoFactor
  audit: Audit
}

const twoFactorRoutes: FastifyPluginAsyncTypebox<TwoFactorOptions> = async (
  app,
  { twoFactor, audit }
) => {
  app.delete(
    '/v1/users/:userId/two-factor',
    {
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
          'Removes all authenticators, recovery codes and trusted devices, and kills every token of before, this one too: sign in again. Where it is off already, nothing happens.',
        tags: ['Users'],
        params: UserParams,
        response: { 204: Type.Null() }
      }
    },
    async (request, reply) => {
      const { subject } = request.credentialOf('accessToken')
      const outcome = await twoFactor.turnOff(subject, audit.succeeded(request))
      if (outcome === 'dead-credential') throw revokedCredential()
      if (outcome !== 'removed') throw new Problem(outcome)
      return reply.code(204).send(null)
    }
  )
}

export default twoFactorRoutes
