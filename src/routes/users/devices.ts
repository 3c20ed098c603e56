// Trusted devices: seen and revoked by their owner, and by an admin for somebody who has lost one.
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import { Type } from 'typebox'
import type { Audit } from '../../audit/audit.ts'
import type {
  TrustedDevice as StoredDevice,
  TrustedDevices
} from '../../data/sign-in/trusted-devices.ts'
import { Problem } from '../../wire/problem.ts'
import { refTo } from '../../wire/references.ts'
import { Uuid } from '../../wire/scalars.ts'
import { TrustedDevice, UserParams } from '../../wire/users.ts'
import { targetUser } from './target-user.ts'

export interface DevicesOptions {
  trustedDevices: TrustedDevices
  audit: Audit
  now: () => Date
}

const deviceRoutes: FastifyPluginAsyncTypebox<DevicesOptions> = async (
  app,
  { trustedDevices, audit, now }
) => {
  app.get(
    '/v1/users/:userId/devices',
    {
      config: {
        limit: 'address',
        act: 'device.read',
        credentials: { accessToken: { holder: 'self-or-admin' } },
        problems: ['user-not-found']
      },
      schema: {
        operationId: 'listDevices',
        summary: "List a user's trusted devices, newest first",
        tags: ['Users'],
        params: UserParams,
        response: {
          200: Type.Object({ items: Type.Array(refTo(TrustedDevice)) })
        }
      }
    },
    async (request) => {
      const user = targetUser(request.credentialOf('accessToken'), request.params.userId)
      const items = await trustedDevices.list(user, now())
      if (!items) throw new Problem('user-not-found')
      return { items: items.map(asAnswer) }
    }
  )

  app.delete(
    '/v1/users/:userId/devices/:deviceId',
    {
      config: {
        limit: 'address',
        act: 'device.revoke',
        // Not `fresh`: whoever has lost a device must not look for a phone first.
        credentials: { accessToken: { holder: 'self-or-admin' } },
        problems: ['user-not-found', 'device-not-found']
      },
      schema: {
        operationId: 'revokeDevice',
        summary: 'Trust a device no longer',
        description: 'The next sign-in there asks for a code again.',
        tags: ['Users'],
        params: Type.Object({ ...UserParams.properties, deviceId: Uuid }),
        response: { 204: Type.Null() }
      }
    },
    async (request, reply) => {
      const user = targetUser(request.credentialOf('accessToken'), request.params.userId)
      const event = audit.succeeded(request)
      const outcome = await trustedDevices.revoke(user, request.params.deviceId, event)
      if (outcome !== 'revoked') throw new Problem(outcome)
      return reply.code(204).send(null)
    }
  )
}

export default deviceRoutes

function asAnswer({ id, createdAt, lastUsedAt, expiresAt }: StoredDevice) {
  return {
    id,
    createdAt: createdAt.toISOString(),
    lastUsedAt: lastUsedAt?.toISOString() ?? null,
    expiresAt: expiresAt.toISOString()
  }
}
