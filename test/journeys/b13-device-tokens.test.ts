// B13: the token of a trusted device is replaced by every use, and a copy of it is detected.
import t from 'tap'
import { signEvent } from '../../src/core/audit/events.ts'
import { createDeviceTokens } from '../../src/crypto/device-tokens.ts'
import { raw } from '../../src/data/engine/statements.ts'
import { createDemandsReader } from '../../src/data/policy/demands.ts'
import { createSubjects, type Subject } from '../../src/data/sign-in/subjects.ts'
import { createTrustedDevices } from '../../src/data/sign-in/trusted-devices.ts'
import { auditEvent } from '../support/audit-events.ts'
import { dumpOf } from '../support/dump.ts'
import { actsOn, eventsAbout, mailsTo } from '../support/records.ts'
import { ALLOWED, isAsked, isTrusted, startWithDevices } from './trusted-devices.ts'

const service = await startWithDevices(t)
const { allowing, assert, changePolicy, clock, createAccount, deviceTokens, devicesOf } = service
const { enrolledUser, login, prisma, userWithDevice } = service

t.test(
  'a device token is accepted only for its own user, and other users cannot revoke it',
  async (t) => {
    const { user, token } = await userWithDevice()
    const next = isTrusted(t, await assert(user, token))
    clock.advance({ minutes: 2 })
    const neighbour = await enrolledUser({ account: allowing })
    const account = await createAccount()
    await changePolicy(account, ALLOWED)
    const foreigner = await enrolledUser({ account, email: user.email })
    for (const other of [neighbour, foreigner]) {
      isAsked(t, await assert(other, next))
      isAsked(t, await assert(other, token), 'and a used token of another user revokes nothing')
    }
    t.equal(deviceTokens.read(token)?.generation, 1)
    t.equal((await devicesOf(user)).length, 1)
    isTrusted(t, await assert(user, next))
  }
)

t.test('a forged device token is ignored, and revokes no device', async (t) => {
  const { user, token } = await userWithDevice()
  const [payload = '', mac = ''] = token.split('.')
  const stranger = createDeviceTokens(Buffer.alloc(32, 7))
  const claims = deviceTokens.read(token)
  if (!claims) throw new Error('unread')
  const old = { ...claims, generation: 0 }
  const forged = [
    'made up',
    '.',
    payload,
    `${payload}.`,
    `.${mac}`,
    `${payload}.${mac}.`,
    ` ${token}`,
    `${token}=`,
    `${payload}.${mac.slice(1)}A`,
    `${payload.slice(0, -6)}AAAAAA.${mac}`,
    `${payload.slice(0, -2)}AA.${mac}`,
    stranger.make(claims),
    stranger.make(old),
    deviceTokens.make({ ...claims, generation: 2 }),
    deviceTokens.make({ ...claims, deviceId: user.authenticatorId }),
    'x'.repeat(512),
    user.account.apiKey,
    await user.stepToken()
  ]
  for (const deviceToken of forged) isAsked(t, await assert(user, deviceToken.slice(0, 512)))
  t.match(await devicesOf(user), [{ generation: 1, lastUsedAt: null }])
  isTrusted(t, await assert(user, token))
})

t.test('a trusted device expires exactly at its expiry time', async (t) => {
  const { user, token, answer } = await userWithDevice()
  const expiresAt = new Date(answer.deviceTokenExpiresAt)
  clock.set(new Date(expiresAt.getTime() - 1000))
  const next = isTrusted(t, await assert(user, token))
  clock.set(expiresAt)
  isAsked(t, await assert(user, next))
  const acts = await actsOn(service, user.id)
  t.notOk(acts.includes('device.revoke succeeded'), 'an expired token is no sign of a theft')
})

t.test(
  'the previous token is accepted for one more minute, since a response may be lost',
  async (t) => {
    const { user, token } = await userWithDevice()
    const second = isTrusted(t, await assert(user, token))
    clock.advance({ seconds: 60 })
    t.equal(isTrusted(t, await assert(user, token)), second, 'the response has the current token')
    t.match(await devicesOf(user), [{ generation: 2, lastUsedAt: clock.now() }])
    const third = isTrusted(t, await assert(user, second))
    t.not(third, second)
    t.equal(isTrusted(t, await assert(user, second)), third)
    isTrusted(t, await assert(user, third))
  }
)

t.test('an old token reveals a copy: the device is revoked and its user is notified', async (t) => {
  const { user, token } = await userWithDevice()
  const second = isTrusted(t, await login(user, token))
  const [device] = await devicesOf(user)
  clock.advance({ seconds: 61 })
  isAsked(t, await login(user, token))
  t.same(await devicesOf(user), [])
  const [event, signIn] = (await eventsAbout(service, user.id)).slice(-2)
  t.match(event, {
    type: 'device.revoke',
    outcome: 'succeeded',
    actor: { kind: 'user', id: user.id, credential: 'password' },
    details: { why: 'reuse' }
  })
  t.match(signIn, { type: 'sign_in.password', details: { next: 'verification_required' } })
  const [stored] = await prisma.auditEvent.findMany({ where: { targetId: device?.id ?? '' } })
  t.match(stored, { type: 'device.revoke', targetKind: 'device', userId: user.id })
  const notice = { kind: 'device_revoked_after_reuse', details: {}, address: '127.0.0.1' }
  t.same(await mailsTo(service, user.email, 'device_revoked_after_reuse'), [notice])

  isAsked(t, await login(user, second), 'the newest token is revoked too')
  isAsked(t, await login(user, token))
  t.equal((await mailsTo(service, user.email, 'device_revoked_after_reuse')).length, 1, 'once')
})

t.test('a token older than the previous one reveals a copy, also within the minute', async (t) => {
  const { user, token } = await userWithDevice()
  const second = isTrusted(t, await assert(user, token))
  const third = isTrusted(t, await assert(user, second))
  isAsked(t, await assert(user, token))
  isAsked(t, await assert(user, third))
  t.match((await eventsAbout(service, user.id)).at(-3), {
    type: 'device.revoke',
    actor: { kind: 'api_key', credential: 'api_key' },
    details: { why: 'reuse' }
  })
})

t.test('a sign-in with a device is written only if the judged state still holds', async (t) => {
  const trustedDevices = createTrustedDevices(prisma)
  const { user } = await userWithDevice()
  const key = { accountId: user.account.id, userId: user.id }
  const subject = await createSubjects(
    service.database.query,
    createDemandsReader({ mandate: null, support: null }, raw('now()'))
  ).find(key)
  const [device] = await devicesOf(user)
  if (!subject || !device) throw new Error('missing')
  const signIn = (judged: Subject, generation: number, now = clock.now()) => {
    const event = signEvent(Buffer.alloc(32), auditEvent({ ...key, occurredAt: now }))
    const next = { ...device, generation: generation + 1, rotatedAt: now }
    return trustedDevices.recordSignIn(judged, { ...device, generation }, next, event)
  }
  t.equal(await signIn(subject, 1), true)
  t.equal(await signIn(subject, 2), true)
  const [before] = await devicesOf(user)
  t.equal(await signIn(subject, 1), false, 'another sign-in was faster')
  t.equal(await signIn({ ...subject, epoch: subject.epoch - 1 }, 3), false, 'the user was reset')
  t.equal(await signIn(subject, 3, device.expiresAt), false, 'the device has expired')
  t.same((await devicesOf(user))[0], before)
  const events = await actsOn(service, user.id, 'user.reset')
  t.equal(events.length, 2, 'no event for a refused sign-in')
})

t.test('devices are deleted an hour after they expired', async (t) => {
  const trustedDevices = createTrustedDevices(prisma)
  const { user, answer } = await userWithDevice()
  const after = (seconds: number) =>
    new Date(Date.parse(answer.deviceTokenExpiresAt) + seconds * 1000)
  await trustedDevices.forgetExpired(after(3600))
  t.equal((await devicesOf(user)).length, 1)
  t.ok((await trustedDevices.forgetExpired(after(3601))) >= 1)
  t.equal((await devicesOf(user)).length, 0)
})

t.test('S26: neither logs nor database contain a device token or a part of one', async (t) => {
  const { user, token } = await userWithDevice()
  const next = isTrusted(t, await login(user, token))
  isAsked(t, await login(user, `${token.slice(0, -1)}_`))
  const parts = [token, next].flatMap((whole) => {
    const [payload = '', mac = ''] = whole.split('.')
    const macBytes = Buffer.from(mac, 'base64url')
    return [whole, payload, mac, macBytes.toString('hex'), macBytes.toString('base64')]
  })
  const text = `${service.logged.join('\n')}\n${await dumpOf(service.database)}`
  t.ok(text.includes(user.email), 'the dump has the rows')
  for (const part of parts) t.notOk(text.includes(part))
})
