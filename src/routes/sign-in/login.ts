// The first step of a sign-in: a password, or an assertion from a back end that has checked the first factor itself.

import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import { Type } from 'typebox'
import type { Audit } from '../../audit/audit.ts'
import { NO_ACCOUNT } from '../../core/audit/events.ts'
import { byAssertedSso, byPassword } from '../../core/claims.ts'
import { storedAddress } from '../../core/input/email-addresses.ts'
import type { PasswordHashing } from '../../crypto/password-hashing.ts'
import type { Subject, Subjects } from '../../data/sign-in/subjects.ts'
import type { RequestTurns } from '../../plugins/limits/turns.ts'
import type { Limits } from '../../plugins/limits.ts'
import type { SignIns } from '../../sign-in/sign-ins.ts'
import { Problem, supportIn } from '../../wire/problem.ts'
import { refTo } from '../../wire/references.ts'
import { DeviceToken, Email, Password, Slug, Uuid } from '../../wire/scalars.ts'
import { SignIn } from '../../wire/sign-in.ts'
import type { ReplyOf, RequestOf, RouteDefinition } from '../definitions.ts'
import { requireScopes } from '../scopes.ts'

interface LoginOptions {
  subjects: Subjects
  passwordHashing: PasswordHashing
  limits: Limits
  requestTurns: RequestTurns
  signIns: SignIns
  audit: Audit
  now: () => Date
}

const LoginBody = Type.Object(
  {
    account: Slug,
    email: Email,
    password: Password,
    deviceToken: Type.Optional(DeviceToken)
  },
  { additionalProperties: false }
)

const AssertionBody = Type.Object(
  {
    userId: Type.Optional(Uuid),
    email: Type.Optional(Email),
    firstFactor: Type.Enum(['pwd', 'sso'], {
      description: 'The first factor that your back end has checked.'
    }),
    deviceToken: Type.Optional(DeviceToken)
  },
  {
    additionalProperties: false,
    title: 'AssertLoginBody',
    oneOf: [
      { title: 'AssertionByUserId', required: ['userId'] },
      { title: 'AssertionByEmail', required: ['email'] }
    ]
  }
)

/** Why a sign-in is refused. The reason is audited; the caller gets the same response for all of them. */
type Flaw = 'no_account' | 'no_user' | 'disabled' | 'password' | 'changed_meanwhile'

const BEARER_CHALLENGE = { headers: { 'www-authenticate': 'Bearer' } }

const LOGIN = {
  config: {
    limit: 'address',
    act: 'sign_in.password',
    credentials: 'none',
    problems: ['invalid-credentials', 'sso-required', 'too-many-attempts']
  },
  schema: {
    operationId: 'login',
    summary: 'Sign in with a password',
    description:
      'Returns an access token, or a step token if a second step is required. An unknown account, an unknown user, a wrong password and a disabled user get the same response after the same time.',
    tags: ['Signing in'],
    body: LoginBody,
    response: { 200: refTo(SignIn) }
  }
} as const satisfies RouteDefinition

const ASSERT_LOGIN = {
  config: {
    limit: 'address',
    act: 'sign_in.assert',
    credentials: { apiKey: ['login:assert', 'login:assert-sso'] },
    problems: ['user-not-found', 'sso-not-enabled', 'sso-required']
  },
  schema: {
    operationId: 'assertLogin',
    summary: 'Sign in by an assertion',
    description:
      'Continues the sign-in of a user whose first factor your back end has checked. `firstFactor: "pwd"` requires the scope `login:assert`, and `"sso"` requires `login:assert-sso`.',
    tags: ['Signing in'],
    body: AssertionBody,
    response: { 200: refTo(SignIn) }
  }
} as const satisfies RouteDefinition

const loginRoutes: FastifyPluginAsyncTypebox<LoginOptions> = async (
  app,
  { subjects, passwordHashing, limits, requestTurns, signIns, audit, now }
) => {
  app.post('/v1/login', LOGIN, login)
  app.post('/v1/login/assertion', ASSERT_LOGIN, assertLogin)

  async function login(request: RequestOf<typeof LOGIN>, reply: ReplyOf<typeof LOGIN>) {
    const { account: slug, password } = request.body
    const email = storedAddress(request.body.email)
    const tried = { account: slug, email }
    await limits.requirePasswordPause(request, tried)
    // Every step runs for every request, so that the response time does not show what is wrong.
    const { account, user } = await subjects.findForLogin({ slug, email })
    if (account?.sso.mode === 'required') {
      const act = { accountId: account.id }
      throw await audit.refuse(request, 'sso-required', act, supportIn(account))
    }
    // The share of the slug, whether it exists or not. No slug may be the id of an account, whose share is another.
    const share = `slug:${slug}`
    const isRight = await passwordHashing.verify(password, user?.passwordHash ?? null, share)
    const subject = user && isRight && !user.subject.isDisabled ? user.subject : null
    // After the hash, which waits in a queue of its own.
    const turn = { share, accountId: account?.id, users: subject ? [subject] : [] }
    return requestTurns.run(reply, turn, async () => {
      // Again, because other tries may have failed since: concurrent tries must not learn more than sequential ones.
      await limits.requirePasswordPause(request, tried)
      const signIn = subject && (await signInWithPassword(request, subject))
      if (signIn) return signIn
      if (!subject) await limits.countFailedPassword(request, tried)
      const why = subject ? 'changed_meanwhile' : flawOf(account, user)
      const target = user && ({ kind: 'user', id: user.subject.userId } as const)
      const act = { accountId: account?.id ?? NO_ACCOUNT, target, details: { why } }
      throw await audit.refuse(request, 'invalid-credentials', act, BEARER_CHALLENGE)
    })
  }

  /** Returns null if the user was disabled, or their password changed, after the password was read. */
  function signInWithPassword(request: RequestOf<typeof LOGIN>, subject: Subject) {
    const { accountId, userId: id } = subject
    const actor = { kind: 'user', id, credential: 'password' } as const
    const act = { accountId, actor, target: { kind: 'user', id } as const }
    const firstStep = passwordStep(request.body.deviceToken)
    return signIns.afterFirstStep(request, subject, firstStep, act)
  }

  async function assertLogin(request: RequestOf<typeof ASSERT_LOGIN>) {
    const credential = request.credentialOf('apiKey')
    const { accountId } = credential
    const { userId, email = '', firstFactor, deviceToken } = request.body
    const scope = firstFactor === 'pwd' ? 'login:assert' : 'login:assert-sso'
    requireScopes(credential, [scope])
    const subject = userId
      ? await subjects.find({ accountId, userId })
      : await subjects.findByEmail(accountId, storedAddress(email))
    if (!subject || subject.isDisabled) throw new Problem('user-not-found')
    const target = { kind: 'user', id: subject.userId } as const
    const firstStep =
      firstFactor === 'sso' ? assertedSso(subject) : assertedPassword(subject, deviceToken)
    const signIn = await signIns.afterFirstStep(request, subject, firstStep, { target })
    if (!signIn) throw new Problem('user-not-found')
    return signIn
  }

  function passwordStep(deviceToken: string | undefined) {
    return { authentication: byPassword(now()), arrival: 'password', deviceToken } as const
  }

  /** The account policy binds the account's own back end too. */
  function assertedPassword({ policy, support }: Subject, deviceToken: string | undefined) {
    if (policy.sso.mode === 'required') throw new Problem('sso-required', supportIn({ support }))
    return passwordStep(deviceToken)
  }

  /** The back end vouches for a single sign-on at the account's provider. */
  function assertedSso({ policy: { sso } }: Subject) {
    if (sso.mode === 'off' || sso.issuer === null) throw new Problem('sso-not-enabled')
    return { authentication: byAssertedSso(sso.issuer, now()), arrival: 'sso' } as const
  }
}

export default loginRoutes

function flawOf(account: object | null, user: { subject: Subject } | null): Flaw {
  if (!account) return 'no_account'
  if (!user) return 'no_user'
  return user.subject.isDisabled ? 'disabled' : 'password'
}
