// Reset of a user's two-factor by an admin, the account's back end or the operator's support, for example after the user
// lost the phone and has no recovery code left. No key is shown or restored: the user sets up two-factor again.
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import { type Static, Type } from 'typebox'
import type { Audit } from '../../audit/audit.ts'
import { decide } from '../../core/policy.ts'
import type { UserKey } from '../../data/sign-in/subjects.ts'
import type { Resets, ResetUser } from '../../data/users/resets.ts'
import type { Credential } from '../../plugins/credentials.ts'
import { invalidMember, Problem } from '../../wire/problem.ts'
import { Email, GivenReason, Instant, Ticket, Uuid } from '../../wire/scalars.ts'
import { UserParams } from '../../wire/users.ts'
import { actorOf, refusedAct } from '../actors.ts'
import type { RequestOf, RouteDefinition } from '../definitions.ts'
import { allowNoBody } from '../optional-body.ts'
import { type Caller, isSelf, targetUser } from './target-user.ts'

interface ResetOptions {
  resets: Resets
  audit: Audit
}

const ResetBody = Type.Object(
  { reason: Type.Optional(GivenReason), ticket: Type.Optional(Ticket) },
  { additionalProperties: false }
)

const ResetAnswer = Type.Object({
  userId: Uuid,
  email: Email,
  resetAt: Instant,
  nextSignIn: Type.Enum(['enrollment_required', 'not_required', 'sso_required'], {
    description:
      'The result of the next password sign-in under the current policy. `not_required`: the user never had two-factor and does not need it. `sso_required`: the account accepts no passwords, only single sign-on.'
  })
})

type Resetter = Caller | Extract<Credential, { kind: 'operator' }>

const RESET_USER = {
  config: {
    limit: 'address',
    act: 'user.reset',
    credentials: {
      operator: true,
      apiKey: ['users:reset'],
      accessToken: { holder: 'admin', fresh: 'second-factor' }
    },
    problems: ['user-not-found', 'self-reset-forbidden', 'nothing-to-reset']
  },
  preValidation: allowNoBody,
  schema: {
    operationId: 'resetUser',
    summary: "Reset a user's two-factor",
    description:
      'Removes the authenticators, pending enrollments, recovery codes, trusted devices, SSO identities and locks of a user, and revokes all earlier tokens of the user. If the user had an authenticator or needs one, the next password sign-in leads to the set-up, also in an account where two-factor is optional. The user is notified by e-mail. With the operator key, `ticket` is required, and every admin of the account is notified too.',
    tags: ['Users'],
    params: UserParams,
    body: ResetBody,
    response: { 200: ResetAnswer }
  }
} as const satisfies RouteDefinition

const resetRoutes: FastifyPluginAsyncTypebox<ResetOptions> = async (app, { resets, audit }) => {
  app.post('/v1/users/:userId/reset', RESET_USER, resetUser)

  async function resetUser(request: RequestOf<typeof RESET_USER>) {
    const { reason = null, ticket = null } = request.body
    const credential = request.credentialOf('operator', 'apiKey', 'accessToken')
    if (credential.kind === 'operator' && ticket === null) {
      throw invalidMember('/ticket', 'is required with the operator key')
    }
    const key = await targetOf(credential, request.params.userId)
    const act = { accountId: key.accountId, ticket }
    const event = audit.succeeded(request, { ...act, reason })
    const outcome = await resets.reset(key, actorOf(credential), event)
    if (!outcome.isReset) {
      if (outcome.reason === 'invalid-credential') throw refusedAct(outcome.reason)
      // In the account of the user, so that its admins see it. The operator key belongs to no account.
      throw await audit.refuse(request, outcome.reason, act)
    }
    return {
      userId: key.userId,
      email: outcome.user.email,
      resetAt: event.occurredAt.toISOString(),
      nextSignIn: nextSignIn(outcome.user, event.occurredAt)
    }
  }

  async function targetOf(credential: Resetter, userId: string): Promise<UserKey> {
    if (credential.kind === 'operator') {
      const accountId = userId === 'me' ? null : await resets.findAccountOf(userId)
      if (accountId === null) throw new Problem('user-not-found')
      return { accountId, userId }
    }
    const key = targetUser(credential, userId)
    if (isSelf(credential, key.userId)) throw new Problem('self-reset-forbidden')
    return key
  }
}

export default resetRoutes

/** Returns the result of a password sign-in of a user who was reset. */
function nextSignIn(
  { demands, role, requirement }: ResetUser,
  now: Date
): Static<typeof ResetAnswer>['nextSignIn'] {
  if (demands.policy.sso.mode === 'required') return 'sso_required'
  const { outcome } = decide({
    ...demands,
    user: { role, requirement, hasAuthenticator: false },
    arrival: 'password',
    hasTrustedDevice: false,
    now
  })
  return outcome === 'enrollment_required' ? outcome : 'not_required'
}
