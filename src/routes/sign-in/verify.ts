// The second step, and the step-up: a code or a recovery code, and an access token for it.
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import { Type } from 'typebox'
import { isBySso, withCode, withRecoveryCode } from '../../core/claims.ts'
import { generateId } from '../../crypto/ids.ts'
import type { DeviceAnswer, DeviceTrust } from '../../sign-in/device-trust.ts'
import type { Accepted, Judging } from '../../sign-in/judging.ts'
import type { SignIns } from '../../sign-in/sign-ins.ts'
import { Problem } from '../../wire/problem.ts'
import { refTo } from '../../wire/references.ts'
import { Code, RecoveryCode } from '../../wire/scalars.ts'
import { SignIn } from '../../wire/sign-in.ts'

export interface VerifyOptions {
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
          'Trust this browser or phone: the answer has a `deviceToken`, and with it no code is asked for here. Heeded where the account allows trusted devices.'
      })
    )
  },
  {
    additionalProperties: false,
    oneOf: [{ required: ['code'] }, { required: ['recoveryCode'] }]
  }
)

const verify: FastifyPluginAsyncTypebox<VerifyOptions> = async (
  app,
  { judging, signIns, deviceTrust }
) => {
  app.post(
    '/v1/verify',
    {
      config: {
        limit: 'codes',
        act: 'sign_in.code',
        credentials: { step: 'verify', accessToken: { holder: 'anyone' } },
        problems: ['code-rejected', 'too-many-attempts', 'authenticator-disabled', 'sso-required']
      },
      schema: {
        operationId: 'verifyCode',
        summary: 'Finish a sign-in with a code or a recovery code',
        description:
          'With a step token this is the second step; with an access token it is the step-up that `step-up-required` asks for. A code is tried against all authenticators of the user. A wrong one is 422, never 401.',
        tags: ['Signing in'],
        body: VerifyBody,
        response: { 200: refTo(SignIn) }
      }
    },
    async (request) => {
      const { code, recoveryCode = '', rememberDevice = false } = request.body
      const { subject, stepToken, claims } = request.credentialOf('step', 'accessToken')
      // The door may have been closed since the password; a code must not keep it open for whoever came through before.
      if (!isBySso(claims.amr) && subject.policy.sso.mode === 'required')
        throw new Problem('sso-required')
      // At the second step and at the step-up alike: what earns the trust is the second factor, shown here just now.
      const guesser = {
        request,
        subject,
        stepToken,
        deviceId: rememberDevice ? generateId() : null
      }
      if (code === undefined) {
        request.act = 'sign_in.recovery_code'
        const accepted = await judging.acceptRecoveryCode(guesser, recoveryCode)
        const by = withRecoveryCode(claims.amr)
        const answer = signIns.authenticated(accepted.subject, by, 'recovery_code_verified')
        const recoveryCodesRemaining = accepted.subject.recoveryCodesRemaining - 1
        return { ...answer, recoveryCodesRemaining, ...deviceOf(accepted) }
      }
      const accepted = await judging.acceptCode(guesser, code)
      const answer = signIns.authenticated(accepted.subject, withCode(claims.amr), 'code_verified')
      const { recoveryCodesRemaining } = accepted.subject
      return { ...answer, recoveryCodesRemaining, ...deviceOf(accepted) }
    }
  )

  function deviceOf({ subject, device }: Accepted): Partial<DeviceAnswer> {
    return device ? deviceTrust.answerFor(subject, { ...device, generation: 1 }) : {}
  }
}

export default verify
