// Recovery codes, which replace a lost authenticator for one sign-in each.
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import { Type } from 'typebox'
import type { Audit } from '../../audit/audit.ts'
import type { RecoveryCodeHasher } from '../../crypto/recovery-code-hashing.ts'
import { generateRecoveryCodes } from '../../crypto/secrets.ts'
import type { RecoveryCodes } from '../../data/users/recovery-codes.ts'
import { revokedCredential } from '../../wire/problem.ts'
import { UserParams } from '../../wire/users.ts'
import type { RequestOf, RouteDefinition } from '../definitions.ts'

interface RecoveryCodesOptions {
  recoveryCodes: RecoveryCodes
  recoveryCodeHasher: RecoveryCodeHasher
  audit: Audit
}

const Remaining = Type.Integer({ minimum: 0, description: 'The number of unused recovery codes.' })

const COUNT_RECOVERY_CODES = {
  config: {
    limit: 'address',
    act: 'recovery_codes.read',
    credentials: { accessToken: { holder: 'self' } }
  },
  schema: {
    operationId: 'countRecoveryCodes',
    summary: 'Count the recovery codes',
    description: 'Returns the number of unused recovery codes. The codes are never shown again.',
    tags: ['Users'],
    params: UserParams,
    response: {
      200: Type.Object({ recoveryCodesRemaining: Remaining }, { title: 'RecoveryCodeCount' })
    }
  }
} as const satisfies RouteDefinition

const REGENERATE_RECOVERY_CODES = {
  config: {
    limit: 'address',
    act: 'recovery_codes.regenerate',
    credentials: { accessToken: { holder: 'self', fresh: 'second-factor' } },
    problems: ['invalid-credential']
  },
  schema: {
    operationId: 'regenerateRecoveryCodes',
    summary: 'Replace the recovery codes',
    description:
      'Creates ten recovery codes, which are shown only here, and notifies the user by e-mail. All earlier recovery codes become invalid immediately.',
    tags: ['Users'],
    params: UserParams,
    response: {
      200: Type.Object(
        {
          recoveryCodes: Type.Array(Type.String()),
          recoveryCodesRemaining: Remaining
        },
        { title: 'NewRecoveryCodes' }
      )
    }
  }
} as const satisfies RouteDefinition

const recoveryCodeRoutes: FastifyPluginAsyncTypebox<RecoveryCodesOptions> = async (
  app,
  { recoveryCodes, recoveryCodeHasher, audit }
) => {
  app.get('/v1/users/:userId/recovery-codes', COUNT_RECOVERY_CODES, countRecoveryCodes)
  app.post('/v1/users/:userId/recovery-codes', REGENERATE_RECOVERY_CODES, regenerateRecoveryCodes)

  async function countRecoveryCodes(request: RequestOf<typeof COUNT_RECOVERY_CODES>) {
    const { subject } = request.credentialOf('accessToken')
    return { recoveryCodesRemaining: subject.recoveryCodesRemaining }
  }

  async function regenerateRecoveryCodes(request: RequestOf<typeof REGENERATE_RECOVERY_CODES>) {
    const { subject } = request.credentialOf('accessToken')
    const codes = generateRecoveryCodes()
    const hashes = codes.map((code) => recoveryCodeHasher.hash(code, subject))
    const isReplaced = await recoveryCodes.replaceAll(subject, hashes, audit.succeeded(request))
    if (!isReplaced) throw revokedCredential()
    return { recoveryCodes: codes, recoveryCodesRemaining: codes.length }
  }
}

export default recoveryCodeRoutes
