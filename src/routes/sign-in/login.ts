// The first step: who it is, by password, or by the word of a back end that has checked for itself.
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import { Type } from 'typebox'
import type { Audit } from '../../audit/audit.ts'
import { NO_ACCOUNT } from '../../core/audit/events.ts'
import { BY_PASSWORD, BY_SSO } from '../../core/claims.ts'
import type { AccountPolicy } from '../../core/policy.ts'
import type { PasswordHashing } from '../../crypto/password-hashing.ts'
import type { Subjects } from '../../data/sign-in/subjects.ts'
import type { Limits } from '../../plugins/limits.ts'
import type { SignIns } from '../../sign-in/sign-ins.ts'
import { Problem } from '../../wire/problem.ts'
import { refTo } from '../../wire/references.ts'
import { DeviceToken, Email, Password, Slug, Uuid } from '../../wire/scalars.ts'
import { SignIn } from '../../wire/sign-in.ts'

export interface LoginOptions {
  subjects: Subjects
  passwordHashing: PasswordHashing
  limits: Limits
  signIns: SignIns
  audit: Audit
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
      description: 'How your back end has checked who it is.'
    }),
    deviceToken: Type.Optional(DeviceToken)
  },
  {
    additionalProperties: false,
    oneOf: [{ required: ['userId'] }, { required: ['email'] }]
  }
)

const BEARER_CHALLENGE = { headers: { 'www-authenticate': 'Bearer' } }
const BY_PASSWORD_STEP = { authentication: BY_PASSWORD, arrival: 'password' } as const
const BY_SSO_STEP = { authentication: BY_SSO, arrival: 'sso' } as const

const login: FastifyPluginAsyncTypebox<LoginOptions> = async (
  app,
  { subjects, passwordHashing, limits, signIns, audit }
) => {
  app.post(
    '/v1/login',
    {
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
          'The answer is an access token, or a step token for the second step. An unknown account, an unknown user, a wrong password and a disabled user get the same answer after the same time.',
        tags: ['Signing in'],
        body: LoginBody,
        response: { 200: refTo(SignIn) }
      }
    },
    async (request) => {
      const { account: slug, password } = request.body
      const email = request.body.email.toLowerCase()
      const tried = { account: slug, email }
      await limits.requirePasswordPause(request, tried)
      // Every step is taken for everyone, so that the time of the answer tells nothing of what is wrong.
      const { account, user } = await subjects.findForLogin({ slug, email })
      if (account?.sso.mode === 'required') {
        throw await audit.refuse(request, 'sso-required', { accountId: account.id })
      }
      const accountId = account?.id ?? NO_ACCOUNT
      const isRight = await passwordHashing.verify(password, user?.passwordHash ?? null)
      // Once more, for those that failed meanwhile: tries at once learn no more than tries one after the other.
      await limits.requirePasswordPause(request, tried)
      const target = user && ({ kind: 'user', id: user.subject.userId } as const)
      if (!user || !isRight || user.subject.isDisabled) {
        await limits.countFailedPassword(request, tried)
        const act = { accountId, target }
        throw await audit.refuse(request, 'invalid-credentials', act, BEARER_CHALLENGE)
      }
      const actor = { kind: 'user', id: user.subject.userId, credential: 'password' } as const
      const firstStep = { ...BY_PASSWORD_STEP, deviceToken: request.body.deviceToken }
      return signIns.afterFirstStep(request, user.subject, firstStep, { accountId, actor, target })
    }
  )

  app.post(
    '/v1/login/assertion',
    {
      config: {
        limit: 'address',
        act: 'sign_in.assert',
        credentials: { apiKey: ['login:assert', 'login:assert-sso'] },
        problems: ['user-not-found', 'sso-not-enabled', 'sso-required']
      },
      schema: {
        operationId: 'assertLogin',
        summary: 'Continue a sign-in whose first step your back end has checked',
        description:
          '`firstFactor: "pwd"` needs the scope `login:assert`, `"sso"` needs `login:assert-sso`.',
        tags: ['Signing in'],
        body: AssertionBody,
        response: { 200: refTo(SignIn) }
      }
    },
    async (request) => {
      const credential = request.credentialOf('apiKey')
      const { userId, email = '', firstFactor } = request.body
      const scope = firstFactor === 'pwd' ? 'login:assert' : 'login:assert-sso'
      if (!credential.scopes.includes(scope)) throw new Problem('insufficient-scope')
      const accountId = credential.accountId
      const subject = userId
        ? await subjects.find({ accountId, userId })
        : await subjects.findByEmail(accountId, email.toLowerCase())
      if (!subject || subject.isDisabled) throw new Problem('user-not-found')
      requireDoor(firstFactor, subject.policy.sso)
      const target = { kind: 'user', id: subject.userId } as const
      const step =
        firstFactor === 'sso'
          ? BY_SSO_STEP
          : { ...BY_PASSWORD_STEP, deviceToken: request.body.deviceToken }
      return signIns.afterFirstStep(request, subject, step, { target })
    }
  )
}

export default login

/** Which doors an account has is its policy's to say, also to its own back end. */
function requireDoor(firstFactor: 'pwd' | 'sso', { mode }: AccountPolicy['sso']): void {
  if (firstFactor === 'sso' && mode === 'off') throw new Problem('sso-not-enabled')
  if (firstFactor === 'pwd' && mode === 'required') throw new Problem('sso-required')
}
