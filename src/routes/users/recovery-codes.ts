// The spare way in: how many codes are left, and ten new ones.
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import { Type } from 'typebox'
import type { Audit } from '../../audit/audit.ts'
import type { RecoveryCodeHasher } from '../../crypto/recovery-code-hashing.ts'
import { generateRecoveryCodes } from '../../crypto/secrets.ts'
import type { RecoveryCodes } from '../../data/users/recovery-codes.ts'
import { revokedCredential } from '../../wire/problem.ts'
import { UserParams } from '../../wire/users.ts'

export interface RecoveryCodesOptions {
  recoveryCodes: RecoveryCodes
  recoveryCodeHasher: RecoveryCodeHasher
  audit: Audit
}

const Remaining = Type.Integer({ minimum: 0, description: 'Codes that are still good.' })

const recoveryCodeRoutes: FastifyPluginAsyncTypebox<RecoveryCodesOptions> = async (
  app,
  { recoveryCodes, recoveryCodeHasher, audit }
) => {
  app.get(
    '/v1/users/:userId/recovery-codes',
    {
      config: {
        limit: 'address',
        act: 'recovery_codes.read',
        credentials: { accessToken: { holder: 'self' } }
      },
      schema: {
        operationId: 'countRecoveryCodes',
        summary: 'How many recovery codes are left',
        tags: ['Users'],
        params: UserParams,
        response: { 200: Type.Object({ recoveryCodesRemaining: Remaining }) }
      }
    },
    async (request) => {
      const { subject } = request.credentialOf('accessToken')
      return { recoveryCodesRemaining: subject.recoveryCodesRemaining }
    }
  )

  app.post(
    '/v1/users/:userId/recovery-codes',
    {
      config: {
        limit: 'address',
        act: 'recovery_codes.regenerate',
        credentials: { accessToken: { holder: 'self', fresh: 'second-factor' } },
        problems: ['invalid-credential']
      },
      schema: {
        operationId: 'regenerateRecoveryCodes',
        summary: 'Replace all recovery codes by ten new ones',
        description: 'The old ones are dead at once; the new ones are shown only here.',
        tags: ['Users'],
        params: UserParams,
        response: {
          200: Type.Object({
            recoveryCodes: Type.Array(Type.String()),
            recoveryCodesRemaining: Remaining
          })
        }
      }
    },
    async (request) => {
      const { subject } = request.credentialOf('accessToken')
      const codes = generateRecoveryCodes()
      const hashes = codes.map((code) => recoveryCodeHasher.hash(code, subject))
      const isReplaced = await recoveryCodes.replaceAll(subject, hashes, audit.succeeded(request))
      if (!isReplaced) throw revokedCredential()
      return { recoveryCodes: codes, recoveryCodesRemaining: codes.length }
    }
  )
}

export default recoveryCodeRoutes
