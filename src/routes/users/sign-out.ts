// Signing a user out everywhere. Users do it themselves after a loss, and admins and the account's back end for a user.
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import { Type } from 'typebox'
import type { Audit } from '../../audit/audit.ts'
import type { SignOuts } from '../../data/users/sign-outs.ts'
import { UserParams } from '../../wire/users.ts'
import { actorOf, refusedAct } from '../actors.ts'
import type { ReplyOf, RequestOf, RouteDefinition } from '../definitions.ts'
import { allowNoBody } from '../optional-body.ts'
import { targetUser } from './target-user.ts'

interface SignOutOptions {
  signOuts: SignOuts
  audit: Audit
}

const SIGN_OUT_USER = {
  config: {
    limit: 'address',
    act: 'user.sign_out',
    credentials: {
      apiKey: ['users:write'],
      // No freshness for users themselves: a user who has lost a phone must be able to do this without a second factor.
      accessToken: { holder: 'self-or-admin', fresh: { others: 'second-factor' } }
    },
    problems: ['user-not-found']
  },
  preValidation: allowNoBody,
  schema: {
    operationId: 'signOutUser',
    summary: 'Sign a user out everywhere',
    description:
      'Revokes all tokens of a user, including the one in this request. Trusted devices stay trusted, unless `forgetDevices` is true. The sessions of your own application are yours to end. A user whom an admin signs out is notified by e-mail.',
    tags: ['Users'],
    params: UserParams,
    body: Type.Object(
      {
        forgetDevices: Type.Optional(
          Type.Boolean({
            description: 'Revoke all trusted devices of the user too. The default is `false`.'
          })
        )
      },
      { additionalProperties: false }
    ),
    response: { 204: Type.Null() }
  }
} as const satisfies RouteDefinition

const signOutRoutes: FastifyPluginAsyncTypebox<SignOutOptions> = async (
  app,
  { signOuts, audit }
) => {
  app.post('/v1/users/:userId/sign-out', SIGN_OUT_USER, signOutUser)

  async function signOutUser(
    request: RequestOf<typeof SIGN_OUT_USER>,
    reply: ReplyOf<typeof SIGN_OUT_USER>
  ) {
    const { forgetDevices = false } = request.body
    const credential = request.credentialOf('apiKey', 'accessToken')
    const key = targetUser(credential, request.params.userId)
    const event = audit.succeeded(request, { details: { forgetDevices } })
    const outcome = await signOuts.signOut(key, actorOf(credential), forgetDevices, event)
    if (outcome !== 'signed-out') throw refusedAct(outcome)
    return reply.code(204).send(null)
  }
}

export default signOutRoutes
