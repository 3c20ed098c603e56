// Trusted devices. Users manage their own devices, and admins the devices of every user, for example after a loss.
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
import type { ReplyOf, RequestOf, RouteDefinition } from '../definitions.ts'
import { targetUser } from './target-user.ts'

interface DevicesOptions {
  trustedDevices: TrustedDevices
  audit: Audit
  now: () => Date
}

const LIST_DEVICES = {
  config: {
    limit: 'address',
    act: 'device.read',
    credentials: { accessToken: { holder: 'self-or-admin' } },
    problems: ['user-not-found']
  },
  schema: {
    operationId: 'listDevices',
    summary: 'List trusted devices',
    description: 'Returns the trusted devices of a user that have not expired, newest first.',
    tags: ['Users'],
    params: UserParams,
    response: {
      200: Type.Object({ items: Type.Array(refTo(TrustedDevice)) }, { title: 'TrustedDeviceList' })
    }
  }
} as const satisfies RouteDefinition

const REVOKE_DEVICE = {
  config: {
    limit: 'address',
    act: 'device.revoke',
    // Not `fresh`: a user who has lost a device must be able to revoke it without a second factor.
    credentials: { accessToken: { holder: 'self-or-admin' } },
    problems: ['user-not-found', 'device-not-found']
  },
  schema: {
    operationId: 'revokeDevice',
    summary: 'Revoke a trusted device',
    description: 'Deletes a trusted device. The next sign-in on it requires a code again.',
    tags: ['Users'],
    params: Type.Object({ ...UserParams.properties, deviceId: Uuid }),
    response: { 204: Type.Null() }
  }
} as const satisfies RouteDefinition

const deviceRoutes: FastifyPluginAsyncTypebox<DevicesOptions> = async (
  app,
  { trustedDevices, audit, now }
) => {
  app.get('/v1/users/:userId/devices', LIST_DEVICES, listDevices)
  app.delete('/v1/users/:userId/devices/:deviceId', REVOKE_DEVICE, revokeDevice)

  async function listDevices(request: RequestOf<typeof LIST_DEVICES>) {
    const user = targetUser(request.credentialOf('accessToken'), request.params.userId)
    const items = await trustedDevices.list(user, now())
    if (!items) throw new Problem('user-not-found')
    return { items: items.map(asAnswer) }
  }

  async function revokeDevice(
    request: RequestOf<typeof REVOKE_DEVICE>,
    reply: ReplyOf<typeof REVOKE_DEVICE>
  ) {
    const user = targetUser(request.credentialOf('accessToken'), request.params.userId)
    const event = audit.succeeded(request)
    const outcome = await trustedDevices.revoke(user, request.params.deviceId, event)
    if (outcome !== 'revoked') throw new Problem(outcome)
    return reply.code(204).send(null)
  }
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
