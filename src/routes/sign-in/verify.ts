// The second step of a sign-in and the step-up: a code or a recovery code is exchanged for an access token.
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import { Type } from 'typebox'
import { type FirstStep, withCode, withRecoveryCode } from '../../core/claims.ts'
import { generateId } from '../../crypto/ids.ts'
import type { DeviceAnswer, DeviceTrust } from '../../sign-in/device-trust.ts'
import type { Guesser } from '../../sign-in/guesses.ts'
import type { Accepted, Judging } from '../../sign-in/judging.ts'
import type { SignIns } from '../../sign-in/sign-ins.ts'
import { refTo } from '../../wire/references.ts'
import { Code, RecoveryCode } from '../../wire/scalars.ts'
import { SignIn } from '../../wire/sign-in.ts'
import type { RequestOf, RouteDefinition } from '../definitions.ts'
import { firstStepOf } from './first-steps.ts'

interface VerifyOptions {
  judging: Judging
  signIns: SignIns
  deviceTrust: DeviceTrust
}

const VerifyBody = Type.Object(
  {
    code: Type.Optional(Code),
    recoveryCode: Type.Optional(RecoveryCode),
    rememberDevice: Type.Optional(
      Type.Boolean({
        description:
          'Trust this browser or phone: the response has a `deviceToken`, and later sign-ins with it skip the code. It has no effect unless the account allows trusted devices.'
      })
    )
  },
  {
    additionalProperties: false,
    title: 'VerifyCodeBody',
    oneOf: [
      { title: 'CodeBody', required: ['code'] },
      { title: 'RecoveryCodeBody', required: ['recoveryCode'] }
    ]
  }
)

const VERIFY_CODE = {
  config: {
    limit: 'codes',
    act: 'sign_in.code',
    credentials: { step: 'verify', accessToken: { holder: 'anyone', extends: 'by-code' } },
    problems: ['code-rejected', 'too-many-attempts', 'authenticator-disabled', 'sso-required']
  },
  schema: {
    operationId: 'verifyCode',
    summary: 'Verify a code',
    description:
      'Finishes a sign-in with a step token, or steps up an access token, as `step-up-required` demands. Accepts a code from any active authenticator of the user, or a recovery code, after which the user is notified by e-mail. A wrong code returns 422, never 401. A step-up keeps the time of the first factor: if that is too long ago, or if the account no longer accepts the password or the identity provider behind it, the response is `step-up-required` with `next: "login"`.',
    tags: ['Signing in'],
    body: VerifyBody,
    response: { 200: refTo(SignIn) }
  }
} as const satisfies RouteDefinition

const verifyRoutes: FastifyPluginAsyncTypebox<VerifyOptions> = async (
  app,
  { judging, signIns, deviceTrust }
) => {
  app.post('/v1/verify', VERIFY_CODE, verifyCode)

  async function verifyCode(request: RequestOf<typeof VERIFY_CODE>) {
    const { code, recoveryCode = '', rememberDevice = false } = request.body
    const credential = request.credentialOf('step', 'accessToken')
    const { subject, stepToken } = credential
    const firstStep = firstStepOf(credential)
    // A step-up may remember a device too: the second factor, which was shown just now, earns the trust.
    const deviceId = rememberDevice ? generateId() : null
    const link = (credential.kind === 'step' && credential.claims.sso_link) || null
    const { firstFactor } = firstStep
    const guesser = { request, subject, stepToken, firstFactor, deviceId, link }
    return code === undefined
      ? acceptRecoveryCode(guesser, recoveryCode, firstStep)
      : acceptCode(guesser, code, firstStep)
  }

  async function acceptCode(guesser: Guesser, code: string, firstStep: FirstStep) {
    const accepted = await judging.acceptCode(guesser, code)
    const { subject } = accepted
    return {
      ...signIns.authenticated(subject, withCode(firstStep), 'code_verified'),
      recoveryCodesRemaining: subject.recoveryCodesRemaining,
      ...deviceOf(accepted)
    }
  }

  async function acceptRecoveryCode(guesser: Guesser, recoveryCode: string, firstStep: FirstStep) {
    guesser.request.act = 'sign_in.recovery_code'
    const accepted = await judging.acceptRecoveryCode(guesser, recoveryCode)
    const { subject } = accepted
    return {
      ...signIns.authenticated(subject, withRecoveryCode(firstStep), 'recovery_code_verified'),
      recoveryCodesRemaining: subject.recoveryCodesRemaining - 1,
      ...deviceOf(accepted)
    }
  }

  function deviceOf({ subject, device }: Accepted): Partial<DeviceAnswer> {
    return device ? deviceTrust.answerFor(subject, { ...device, generation: 1 }) : {}
  }
}

export default verifyRoutes
