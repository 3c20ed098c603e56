// The second step, and the step-up: a code or a recovery code, and an access token for it.
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import { Type } from 'typebox'
import { withCode, withRecoveryCode } from '../../core/claims.ts'
import type { SignIns } from '../../plugins/sign-ins.ts'
import { Code, RecoveryCode, refTo, type SignIn } from '../../schemas.ts'
import { createJudging, type JudgingOptions } from './judging.ts'

export interface VerifyOptions extends JudgingOptions {
  signIns: SignIns
}

const VerifyBody = Type.Object(
  {
    code: Type.Optional(Code),
    recoveryCode: Type.Optional(RecoveryCode),
    rememberDevice: Type.Optional(
      Type.Boolean({ description: 'Heeded where the account allows trusted devices.' })
    )
  },
  {
    additionalProperties: false,
    oneOf: [{ required: ['code'] }, { required: ['recoveryCode'] }]
  }
)

const verify: FastifyPluginAsyncTypebox<VerifyOptions> = async (app, { signIns, ...options }) => {
  const judging = createJudging(options)

  app.post(
    '/v1/verify',
    {
      config: {
        limit: 'codes',
        act: 'sign_in.code',
        credentials: { step: 'verify', accessToken: { holder: 'anyone' } },
        problems: ['code-rejected', 'too-many-attempts', 'authenticator-disabled']
      },
      schema: {
        operationId: 'verifyCode',
        summary: 'Finish a sign-in with a code or a recovery code',
        description:
          'With a step token this is the second step; with an access token it is the step-up that `step-up-required` asks for. A code is tried against all authenticators of the user. A wrong one is 422, never 401.',
        tags: ['Signing in'],
        body: VerifyBody,
        response: { 200: refTo<SignIn>('SignIn') }
      }
    },
    async (request) => {
      const { code, recoveryCode = '' } = request.body
      const { subject, stepToken, claims } = request.credentialOf('step', 'accessToken')
      const guesser = { request, subject, stepToken }
      if (code === undefined) {
        request.act = 'sign_in.recovery_code'
        const judged = await judging.acceptRecoveryCode(guesser, recoveryCode)
        const by = withRecoveryCode(claims.amr)
        const answer = signIns.authenticated(judged, by, 'recovery_code_verified')
        return { ...answer, recoveryCodesRemaining: judged.recoveryCodesRemaining - 1 }
      }
      const judged = await judging.acceptCode(guesser, code)
      const answer = signIns.authenticated(judged, withCode(claims.amr), 'code_verified')
      return { ...answer, recoveryCodesRemaining: judged.recoveryCodesRemaining }
    }
  )
}

export default verify
