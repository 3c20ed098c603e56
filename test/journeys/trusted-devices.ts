// What the tests of trusted devices share: an account that allows them, and sign-ins with a device token.
import { randomUUID } from 'node:crypto'
import type { Test } from 'tap'
import { createDeviceTokens } from '../../src/crypto/device-tokens.ts'
import { openServiceKeyOf } from '../../src/crypto/service-keys.ts'
import { createServiceKeys } from '../../src/data/keys/service-keys.ts'
import { type EnrolledUser, startApp, type TestUser } from '../support/app.ts'
import type { Answer } from '../support/calls.ts'
import { MAIL_WAITS } from '../support/records.ts'

export const DAYS = 30
/** A policy that allows trusted devices. */
export const ALLOWED = { trustedDevices: { allowed: true, days: DAYS } }

/** Starts the service, with an account that allows trusted devices. */
export async function startWithDevices(t: Test) {
  const service = await startApp(t, { listen: true, env: MAIL_WAITS })
  const { call, changePolicy, clock, createAccount, enrolledUser } = service
  const { prisma } = service.database
  const ownKeys = {
    stored: createServiceKeys(prisma),
    masterKeys: service.config.masterKeys,
    now: clock.now
  }
  const deviceTokens = createDeviceTokens(await openServiceKeyOf(ownKeys, 'device-tokens'))
  const allowing = await createAccount({ slug: 'allowing' })
  await changePolicy(allowing, ALLOWED)

  /** Signs in with the password and the device token. */
  function login(
    { account, email, password }: Pick<TestUser, 'account' | 'email' | 'password'>,
    deviceToken?: string
  ): Promise<Answer> {
    const body = { account: account.slug, email, password, ...(deviceToken && { deviceToken }) }
    return call('POST', '/v1/login', { body })
  }

  /** Signs in by an assertion of the account's back end, which needs no password hash. */
  function assert({ account, id: userId }: TestUser, deviceToken: string): Promise<Answer> {
    const body = { userId, firstFactor: 'pwd', deviceToken }
    return call('POST', '/v1/login/assertion', { as: account.apiKey, body })
  }

  /** Verifies a code and trusts the device. */
  async function remember(user: EnrolledUser, as?: string): Promise<Answer> {
    const body = { code: user.nextCode(), rememberDevice: true }
    return call('POST', '/v1/verify', { as: as ?? (await user.stepToken()), body })
  }

  /** Creates a user with a trusted device, in an account that allows trusted devices. */
  async function userWithDevice(options: Parameters<typeof enrolledUser>[0] = {}) {
    const user = await enrolledUser({ account: allowing, ...options })
    const answer = (await remember(user)).json()
    return { user, token: answer.deviceToken as string, answer }
  }

  const devicesOf = ({ id: userId }: TestUser) =>
    prisma.trustedDevice.findMany({ where: { userId }, orderBy: { createdAt: 'asc' } })

  /** Writes a device as another replica does, or as before a change of the policy. Returns its token. */
  async function plantDevice({ id: userId, account }: TestUser): Promise<string> {
    const [accountId, deviceId, createdAt] = [account.id, randomUUID(), clock.now()]
    const expiresAt = new Date(createdAt.getTime() + 86_400_000)
    await prisma.trustedDevice.create({
      data: { accountId, userId, id: deviceId, createdAt, expiresAt }
    })
    return deviceTokens.make({ accountId, userId, deviceId, generation: 1 })
  }

  return {
    ...service,
    prisma,
    deviceTokens,
    allowing,
    login,
    assert,
    remember,
    userWithDevice,
    devicesOf,
    plantDevice
  }
}

/** Asserts that the password completed the sign-in. Returns the next token of the device. */
export function isTrusted(t: Test, answer: Answer): string {
  t.match(answer.json(), { status: 'authenticated', reason: 'trusted_device' })
  return answer.json().deviceToken
}

/** Asserts that the sign-in requires a code and returns no device token. */
export function isAsked(t: Test, answer: Answer, message = 'a code is required'): void {
  t.equal(answer.statusCode, 200, message)
  const { status, deviceToken, deviceTokenExpiresAt } = answer.json()
  t.equal(status, 'verification_required', message)
  t.same([deviceToken, deviceTokenExpiresAt], [undefined, undefined])
}
