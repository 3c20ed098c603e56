// B13: a trusted device skips the code where the account allows it.
import { randomUUID } from 'node:crypto'
import { decodeJwt } from 'jose'
import t, { type Test } from 'tap'
import { signEvent } from '../../src/core/audit/events.ts'
import { createDeviceTokens } from '../../src/crypto/device-tokens.ts'
import { openServiceKeyOf } from '../../src/crypto/service-keys.ts'
import { createServiceKeys } from '../../src/data/keys/service-keys.ts'
import { createSubjects, type Subject } from '../../src/data/sign-in/subjects.ts'
import { createTrustedDevices } from '../../src/data/sign-in/trusted-devices.ts'
import {
  type Answer,
  type EnrolledUser,
  OPERATOR_KEY,
  startApp,
  type TestUser
} from '../support/app.ts'
import { auditEvent } from '../support/audit-events.ts'
import { dumpOf } from '../support/dump.ts'
import { wrongCode } from '../support/guesses.ts'
import { isProblem } from '../support/problems.ts'
import { actsOn, eventsAbout, MAIL_WAITS, mailsTo } from '../support/records.ts'

const service = await startApp(t, { listen: true, env: MAIL_WAITS })
const { call, changePolicy, clock, createAccount, enroll, confirm, enrolledUser } = service
const { prisma } = service.database
const ownKeys = {
  stored: createServiceKeys(prisma),
  masterKeys: service.config.masterKeys,
  now: clock.now
}
const deviceTokens = createDeviceTokens(await openServiceKeyOf(ownKeys, 'device-tokens'))

const DAYS = 30
const ALLOWED = { trustedDevices: { allowed: true, days: DAYS } }
const allowing = await createAccount({ slug: 'allowing' })
await changePolicy(allowing, ALLOWED)

/** Signs in with the password, and with what the device has kept. */
function login({ account, email, password }: TestUser, deviceToken?: string): Promise<Answer> {
  const body = { account: account.slug, email, password, ...(deviceToken && { deviceToken }) }
  return call('POST', '/v1/login', { body })
}

/** The same by the word of the account's back end, which is quicker. */
function assert({ account, id: userId }: TestUser, deviceToken: string): Promise<Answer> {
  const body = { userId, firstFactor: 'pwd', deviceToken }
  return call('POST', '/v1/login/assertion', { as: account.apiKey, body })
}

async function remember(user: EnrolledUser, as?: string): Promise<Answer> {
  const body = { code: user.nextCode(), rememberDevice: true }
  return call('POST', '/v1/verify', { as: as ?? (await user.stepToken()), body })
}

/** A user of an account that allows devices, and the token of one that they trust. */
async function userWithDevice(options: Parameters<typeof enrolledUser>[0] = {}) {
  const user = await enrolledUser({ account: allowing, ...options })
  const answer = (await remember(user)).json()
  return { user, token: answer.deviceToken as string, answer }
}

const devicesOf = ({ id: userId }: TestUser) =>
  prisma.trustedDevice.findMany({ where: { userId }, orderBy: { createdAt: 'asc' } })

/** The whole sign-in is the password: its answer has the device's next token. */
function isTrusted(t: Test, answer: Answer): string {
  t.match(answer.json(), { status: 'authenticated', reason: 'trusted_device' })
  return answer.json().deviceToken
}

function isAsked(t: Test, answer: Answer, message = 'a code is asked for'): void {
  t.equal(answer.statusCode, 200, message)
  const { status, deviceToken, deviceTokenExpiresAt } = answer.json()
  t.equal(status, 'verification_required', message)
  t.same([deviceToken, deviceTokenExpiresAt], [undefined, undefined])
}

t.test('remembered at the code, the device signs in with the password alone', async (t) => {
  const user = await enrolledUser({ account: allowing })
  const { stepToken } = (await login(user)).json()
  const remembered = (await remember(user, stepToken)).json()
  const expiresAt = new Date(clock.now().getTime() + DAYS * 86_400_000).toISOString()
  t.match(remembered, { status: 'authenticated', reason: 'code_verified' })
  t.equal(remembered.deviceTokenExpiresAt, expiresAt)
  t.match(decodeJwt(remembered.accessToken), { acr: 'urn:twostep:acr:2' })

  clock.advance({ minutes: 24 * 60 })
  const answer = await login(user, remembered.deviceToken)
  const next = isTrusted(t, answer)
  t.not(next, remembered.deviceToken, 'replaced with every use')
  t.equal(answer.json().deviceTokenExpiresAt, expiresAt, 'use does not prolong the trust')
  t.match(decodeJwt(answer.json().accessToken), { acr: 'urn:twostep:acr:1' })
  t.same(decodeJwt(answer.json().accessToken)['amr'], ['pwd'])

  const [device] = await devicesOf(user)
  t.match(await eventsAbout(service, user.id).then((events) => events.slice(-2)), [
    { type: 'sign_in.code', details: { authenticatorId: /./, deviceId: device?.id } },
    {
      type: 'sign_in.password',
      outcome: 'succeeded',
      actor: { kind: 'user', id: user.id, credential: 'password' },
      details: { next: 'authenticated', why: 'trusted_device', deviceId: device?.id }
    }
  ])
  const as = answer.json().accessToken
  const listed = (await call('GET', '/v1/users/me/devices', { as })).json()
  const lastUsedAt = clock.now().toISOString()
  t.match(listed, { items: [{ id: device?.id, expiresAt, lastUsedAt }] })
  t.equal((await call('GET', '/v1/users/me', { as })).json().lastSignInAt, lastUsedAt)

  isTrusted(t, await assert(user, next))
  isAsked(t, await login(user), 'other browsers are asked')
  isProblem(t, await login({ ...user, password: 'wrong horse' }, next), 401, 'invalid-credentials')
})

t.test('trust is no second factor: a sensitive act still asks for a code', async (t) => {
  const { user, token } = await userWithDevice({ role: 'admin' })
  const trusted = await assert(user, token)
  isTrusted(t, trusted)
  const as = trusted.json().accessToken
  const change = { body: {}, headers: { 'if-match': '*' } }
  const refused = await call('PATCH', '/v1/policy', { as, ...change })
  t.match(isProblem(t, refused, 401, 'step-up-required'), { next: 'verify' })
  const steppedUp = (await remember(user, as)).json()
  t.equal(
    (await call('PATCH', '/v1/policy', { as: steppedUp.accessToken, ...change })).statusCode,
    200
  )
  isTrusted(t, await assert(user, steppedUp.deviceToken))
})

t.test('a recovery code makes a device trusted too', async (t) => {
  const user = await enrolledUser({ account: allowing })
  const body = { recoveryCode: user.recoveryCodes[0], rememberDevice: true }
  const answer = (await call('POST', '/v1/verify', { as: await user.stepToken(), body })).json()
  t.equal(answer.recoveryCodesRemaining, 9)
  isTrusted(t, await assert(user, answer.deviceToken))
  const [device] = await devicesOf(user)
  t.match((await eventsAbout(service, user.id)).at(-2), {
    type: 'sign_in.recovery_code',
    details: { deviceId: device?.id }
  })
})

t.test('nothing is remembered that was not asked for, or by a wrong code', async (t) => {
  const user = await enrolledUser({ account: allowing })
  const bodies = [{ code: user.nextCode() }, { code: user.nextCode(), rememberDevice: false }]
  for (const body of bodies) {
    const answer = await call('POST', '/v1/verify', { as: await user.stepToken(), body })
    t.equal(answer.json().deviceToken, undefined)
  }
  const wrong = { code: wrongCode(user, clock.now()), rememberDevice: true }
  const refused = await call('POST', '/v1/verify', { as: await user.stepToken(), body: wrong })
  isProblem(t, refused, 422, 'code-rejected')
  t.same(await devicesOf(user), [])
})

t.test(
  'where the account does not allow devices, none is remembered and none is heeded',
  async (t) => {
    const account = await createAccount()
    const user = await enrolledUser({ account })
    const answer = (await remember(user)).json()
    t.match(answer, { status: 'authenticated' })
    t.same([answer.deviceToken, answer.deviceTokenExpiresAt], [undefined, undefined])
    t.same(await devicesOf(user), [])
    const token = await plantDevice(user)
    isAsked(t, await login(user, token))
    t.match(await devicesOf(user), [{ generation: 1, lastUsedAt: null }], 'it is not even judged')
  }
)

t.test('a mandate asks for two factors, and takes no account its devices', async (t) => {
  const account = await createAccount()
  await changePolicy(account, { twoFactor: 'required', ...ALLOWED })
  const body = { requiredFrom: clock.now().toISOString() }
  await call('PUT', `/v1/accounts/${account.id}/mandate`, { as: OPERATOR_KEY, body })
  const { user, token } = await userWithDevice({ account })
  isTrusted(t, await login(user, token))
})

t.test('403: an account that has single sign-on alone has no door for devices', async (t) => {
  const account = await createAccount()
  await changePolicy(account, ALLOWED)
  const { user, token } = await userWithDevice({ account })
  const as = await user.accessToken()
  const sso = { mode: 'required', issuer: 'https://id.example.com', clientId: 'acme' }
  await changePolicy(account, { sso })
  isProblem(t, await login(user, token), 403, 'sso-required')
  isProblem(t, await assert(user, token), 403, 'sso-required')
  isProblem(t, await remember(user, as), 403, 'sso-required')
})

t.test('a token is good for its own user alone, and nobody else can do it harm', async (t) => {
  const { user, token } = await userWithDevice()
  const next = isTrusted(t, await assert(user, token))
  clock.advance({ minutes: 2 })
  const neighbour = await enrolledUser({ account: allowing })
  const account = await createAccount()
  await changePolicy(account, ALLOWED)
  const foreigner = await enrolledUser({ account, email: user.email })
  for (const other of [neighbour, foreigner]) {
    isAsked(t, await assert(other, next))
    isAsked(t, await assert(other, token), 'nor does a used one revoke anything')
  }
  t.equal(deviceTokens.read(token)?.generation, 1)
  t.equal((await devicesOf(user)).length, 1)
  isTrusted(t, await assert(user, next))
})

t.test('whatever was not made here is ignored, and takes no trust away', async (t) => {
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

t.test('the trust ends when it was to end, to the second', async (t) => {
  const { user, token, answer } = await userWithDevice()
  const expiresAt = new Date(answer.deviceTokenExpiresAt)
  clock.set(new Date(expiresAt.getTime() - 1000))
  const next = isTrusted(t, await assert(user, token))
  clock.set(expiresAt)
  isAsked(t, await assert(user, next))
  const acts = await actsOn(service, user.id)
  t.notOk(acts.includes('device.revoke succeeded'), 'to be late is no theft')
})

t.test('the token before does for a minute more: an answer may be lost', async (t) => {
  const { user, token } = await userWithDevice()
  const second = isTrusted(t, await assert(user, token))
  clock.advance({ seconds: 60 })
  t.equal(isTrusted(t, await assert(user, token)), second, 'answered with the current one')
  t.match(await devicesOf(user), [{ generation: 2, lastUsedAt: clock.now() }])
  const third = isTrusted(t, await assert(user, second))
  t.not(third, second)
  t.equal(isTrusted(t, await assert(user, second)), third)
  isTrusted(t, await assert(user, third))
})

t.test('an old token tells of a copy: the device is revoked, its owner told', async (t) => {
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
  const told = { kind: 'device_revoked_after_reuse', details: {}, address: '127.0.0.1' }
  t.same(await mailsTo(service, user.email, 'device_revoked_after_reuse'), [told])

  isAsked(t, await login(user, second), 'the newest token is dead with it')
  isAsked(t, await login(user, token))
  t.equal((await mailsTo(service, user.email, 'device_revoked_after_reuse')).length, 1, 'once')
})

t.test(
  'within the minute, what is older than the token before is a copy all the same',
  async (t) => {
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
  }
)

t.test('the eleventh device costs the oldest one its trust', async (t) => {
  const { user, token: first } = await userWithDevice()
  clock.advance({ seconds: 30 })
  const second = (await remember(user)).json().deviceToken
  for (let device = 3; device <= 10; device += 1) await remember(user)
  const used = isTrusted(t, await assert(user, first))
  t.equal((await devicesOf(user)).length, 10)
  const eleventh = (await remember(user)).json().deviceToken
  t.equal((await devicesOf(user)).length, 10)
  isAsked(t, await assert(user, used))
  isTrusted(t, await assert(user, second))
  isTrusted(t, await assert(user, eleventh))
})

t.test('trust ends with whatever it was given under', async (t) => {
  const ends: [string, (user: EnrolledUser) => Promise<unknown>][] = [
    ['revoked by the user', async (user) => revokeAll(user, await user.accessToken(), 'me')],
    [
      'revoked by an admin',
      async (user) => {
        const admin = await enrolledUser({ account: user.account, role: 'admin' })
        await revokeAll(user, await admin.accessToken(), user.id)
      }
    ],
    [
      'reset',
      async (user) => {
        await asBackEnd(user, 'POST', `/v1/users/${user.id}/reset`)
        return service.enrolled(user)
      }
    ],
    [
      'turned off, and on again',
      async (user) => {
        await call('DELETE', '/v1/users/me/two-factor', { as: await user.accessToken() })
        return service.enrolled(user)
      }
    ],
    ['another password', (user) => change(user, { password: 'another horse, another battery' })],
    [
      'disabled, and enabled again',
      async (user) => {
        await change(user, { disabled: true })
        await change(user, { disabled: false })
      }
    ],
    ['an authenticator replaced', (user) => addApp(user, { replaces: user.authenticatorId })],
    ['one of two authenticators removed', removeOneOfTwo],
    ['devices forbidden, and allowed again', forbidAndAllow],
    ['other days', ({ account }) => changePolicy(account, { trustedDevices: { days: DAYS + 1 } })],
    ['required of everybody', ({ account }) => changePolicy(account, { twoFactor: 'required' })]
  ]
  for (const [what, end] of ends) {
    const account = await createAccount()
    await changePolicy(account, ALLOWED)
    const { user, token } = await userWithDevice({ account })
    const next = isTrusted(t, await assert(user, token))
    await end(user)
    t.same(await devicesOf(user), [], what)
    isAsked(t, await assert(user, next), what)
  }
})

t.test('trust outlives what takes nothing away', async (t) => {
  const account = await createAccount()
  await changePolicy(account, ALLOWED)
  const { user, token } = await userWithDevice({ account })
  await addApp(user, { name: 'Tablet' })
  await change(user, { role: 'admin' })
  await changePolicy(account, { graceDays: 3, ...ALLOWED })
  const as = await user.accessToken()
  await call('POST', '/v1/users/me/recovery-codes', { as })
  isTrusted(t, await assert(user, token))
})

t.test(
  'a sign-in by a device is written from the state that was judged, or not at all',
  async (t) => {
    const trustedDevices = createTrustedDevices(prisma)
    const { user } = await userWithDevice()
    const key = { accountId: user.account.id, userId: user.id }
    const subject = await createSubjects(service.database.query, null).find(key)
    const [device] = await devicesOf(user)
    if (!subject || !device) throw new Error('not there')
    const signIn = (judged: Subject, generation: number, now = clock.now()) => {
      const event = signEvent(Buffer.alloc(32), auditEvent({ ...key, occurredAt: now }))
      const next = { ...device, generation: generation + 1, rotatedAt: now }
      return trustedDevices.recordSignIn(judged, { ...device, generation }, next, event)
    }
    t.equal(await signIn(subject, 1), true)
    t.equal(await signIn(subject, 2), true)
    const [before] = await devicesOf(user)
    t.equal(await signIn(subject, 1), false, 'somebody was faster')
    t.equal(await signIn({ ...subject, epoch: subject.epoch - 1 }, 3), false, 'reset since')
    t.equal(await signIn(subject, 3, device.expiresAt), false, 'expired since')
    t.same((await devicesOf(user))[0], before)
    const events = await actsOn(service, user.id, 'user.reset')
    t.equal(events.length, 2, 'no event of what was not done')
  }
)

t.test('devices are forgotten an hour after they expired', async (t) => {
  const trustedDevices = createTrustedDevices(prisma)
  const { user, answer } = await userWithDevice()
  const after = (seconds: number) =>
    new Date(Date.parse(answer.deviceTokenExpiresAt) + seconds * 1000)
  await trustedDevices.forgetExpired(after(3600))
  t.equal((await devicesOf(user)).length, 1)
  t.ok((await trustedDevices.forgetExpired(after(3601))) >= 1)
  t.equal((await devicesOf(user)).length, 0)
})

t.test(
  'S26: neither logs nor database hold a device token, or a part that makes one',
  async (t) => {
    const { user, token } = await userWithDevice()
    const next = isTrusted(t, await login(user, token))
    isAsked(t, await login(user, `${token.slice(0, -1)}_`))
    const parts = [token, next].flatMap((whole) => {
      const [payload = '', mac = ''] = whole.split('.')
      const macBytes = Buffer.from(mac, 'base64url')
      return [whole, payload, mac, macBytes.toString('hex'), macBytes.toString('base64')]
    })
    const text = `${service.logged.join('\n')}\n${await dumpOf(service.database)}`
    t.ok(text.includes(user.email), 'the dump holds what is in there')
    for (const part of parts) t.notOk(text.includes(part))
  }
)

/** A device as remembered by another replica, or before the policy changed; returns its token. */
async function plantDevice({ id: userId, account }: TestUser): Promise<string> {
  const [accountId, deviceId, createdAt] = [account.id, randomUUID(), clock.now()]
  const expiresAt = new Date(createdAt.getTime() + 86_400_000)
  await prisma.trustedDevice.create({
    data: { accountId, userId, id: deviceId, createdAt, expiresAt }
  })
  return deviceTokens.make({ accountId, userId, deviceId, generation: 1 })
}

async function addApp(user: EnrolledUser, body: object) {
  const as = await user.accessToken()
  const { authenticatorId, setupKey } = (await enroll(as, body)).json()
  const confirmed = await confirm(as, authenticatorId, service.codeAt(setupKey, clock.now()))
  return { authenticatorId, as: confirmed.json().accessToken as string }
}

async function removeOneOfTwo(user: EnrolledUser) {
  const { authenticatorId, as } = await addApp(user, { name: 'Tablet' })
  await call('DELETE', `/v1/users/me/authenticators/${authenticatorId}`, { as })
}

async function forbidAndAllow({ account }: TestUser) {
  await changePolicy(account, { trustedDevices: { allowed: false } })
  await changePolicy(account, ALLOWED)
}

async function revokeAll(user: TestUser, as: string, userId: string) {
  for (const { id } of await devicesOf(user)) {
    await call('DELETE', `/v1/users/${userId}/devices/${id}`, { as })
  }
}

function asBackEnd({ account }: TestUser, method: string, path: string, body?: object) {
  return call(method, path, { as: account.apiKey, body })
}

function change(user: TestUser, body: object): Promise<Answer> {
  return asBackEnd(user, 'PATCH', `/v1/users/${user.id}`, body)
}
