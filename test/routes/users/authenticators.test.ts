// B4: what people do with their own authenticators, two-factor and trusted devices, and what stays of it on record.
import t, { type Test } from 'tap'
import { v7 as uuidv7 } from 'uuid'
import { type Answer, OPERATOR_KEY, startApp, type TestUser, UNKNOWN } from '../../support/app.ts'
import { verdictOf } from '../../support/guesses.ts'
import { isProblem, pointersOf, tellTales } from '../../support/problems.ts'
import { MAIL_WAITS } from '../../support/records.ts'

const service = await startApp(t, { env: MAIL_WAITS })
const { assertedToken, call, changePolicy, clock, codeAt, confirm, createAccount } = service
const { createUser, enroll, enrolledUser, recover, verify } = service
const { prisma } = service.database

const now = () => clock.now()

const list = (as: string, userId = 'me') =>
  call('GET', `/v1/users/${userId}/authenticators`, { as })
const rename = (as: string, id: string, body: object, userId = 'me') =>
  call('PATCH', `/v1/users/${userId}/authenticators/${id}`, { as, body })
const remove = (as: string, id: string, userId = 'me') =>
  call('DELETE', `/v1/users/${userId}/authenticators/${id}`, { as })
const turnOff = (as: string, userId = 'me') =>
  call('DELETE', `/v1/users/${userId}/two-factor`, { as })
const listDevices = (as: string, userId = 'me') =>
  call('GET', `/v1/users/${userId}/devices`, { as })
const revoke = (as: string, id: string, userId = 'me') =>
  call('DELETE', `/v1/users/${userId}/devices/${id}`, { as })
const isAlive = async (as: string) => (await call('GET', '/v1/users/me', { as })).statusCode === 200

const idsOf = (answer: Answer) => answer.json().items.map(({ id }: { id: string }) => id)

/** Adds an app to those that the user has. */
async function add(as: string, body: object = {}) {
  const { authenticatorId, setupKey } = (await enroll(as, body)).json()
  const confirmed = await confirm(as, authenticatorId, codeAt(setupKey, now()))
  if (confirmed.statusCode !== 200) throw new Error(confirmed.body)
  return { authenticatorId, setupKey, accessToken: confirmed.json().accessToken as string }
}

/** A user with a phone and a tablet, signed in with a code just now. */
async function userWithTwo(options: Parameters<typeof createUser>[0] = {}) {
  const user = await enrolledUser(options)
  const tablet = await add(await user.accessToken(), { name: 'Tablet' })
  return { user, tablet, as: tablet.accessToken }
}

async function trust({ account, id: userId }: TestUser, { days }: { days: number }) {
  const id = uuidv7()
  const createdAt = now()
  const expiresAt = new Date(createdAt.getTime() + days * 86_400_000)
  await prisma.trustedDevice.create({
    data: { accountId: account.id, userId, id, createdAt, expiresAt }
  })
  return { id, createdAt: createdAt.toISOString(), expiresAt: expiresAt.toISOString() }
}

async function stateOf({ id: userId }: TestUser) {
  const ofUser = { where: { userId } }
  return {
    user: await prisma.user.findFirst({ where: { id: userId } }),
    authenticators: await prisma.authenticator.findMany({ ...ofUser, orderBy: { id: 'asc' } }),
    enrollments: await prisma.enrollment.findMany(ofUser),
    recoveryCodes: await prisma.recoveryCode.count(ofUser),
    devices: await prisma.trustedDevice.findMany({ ...ofUser, orderBy: { id: 'asc' } })
  }
}

/** What an act writes for others to read: events of the account, and mails. */
async function traced({ account }: TestUser, act: () => Promise<Answer>) {
  const where = { accountId: account.id }
  const events = await prisma.auditEvent.findMany({ where })
  const mails = await prisma.outboxMail.findMany({ where })
  const answer = await act()
  const isNew = (rows: { id: string }[]) => ({
    where: { ...where, id: { notIn: rows.map(({ id }) => id) } }
  })
  return {
    answer,
    events: await prisma.auditEvent.findMany(isNew(events)),
    mails: await prisma.outboxMail.findMany(isNew(mails))
  }
}

interface Traces {
  status: number
  event: object
  mail: { kind: string; details: object } | null
}

/** Asserts that an act succeeds with exactly one event on record and one mail, or none, to the user themself. */
async function isDone(
  t: Test,
  user: TestUser,
  act: () => Promise<Answer>,
  { status, event, mail }: Traces
): Promise<Answer> {
  const { answer, events, mails } = await traced(user, act)
  t.equal(verdictOf(answer), String(status))
  t.equal(events.length, 1, 'one event')
  t.match(events[0], { outcome: 'succeeded', userId: user.id, reason: null, ...event })
  t.match(events[0], { occurredAt: now(), requestId: answer.headers['x-request-id'] })
  const { email: recipient } = user
  const told = { occurredAt: now(), address: '127.0.0.1', recipient }
  t.equal(mails.length, mail ? 1 : 0, mail ? 'one mail' : 'no mail')
  if (mail) t.match(mails[0], { ...mail, ...told })
  return answer
}

/** Asserts that an act is refused, with the refusal on record and nothing else written. */
async function isRefused(
  t: Test,
  user: TestUser,
  act: () => Promise<Answer>,
  [status, code]: readonly [number, string],
  event: object = {}
): Promise<Record<string, unknown>> {
  const before = await stateOf(user)
  const { answer, events, mails } = await traced(user, act)
  const document = isProblem(t, answer, status, code)
  t.equal(events.length, 1, 'one event')
  t.match(events[0], { outcome: 'refused', reason: code, ...event })
  t.same(mails, [], 'no mail')
  t.same(await stateOf(user), before, 'nothing has changed')
  return document
}

t.test('GET /v1/users/{userId}/authenticators', async (t) => {
  t.test('200: the active ones, and the one whose set-up waits, until it expires', async (t) => {
    const user = await createUser()
    t.same((await list(await assertedToken(user))).json(), { items: [] })
    const startedAt = now().toISOString()
    const first = (await enroll(await assertedToken(user))).json()
    clock.advance({ seconds: 20 })
    const confirmedAt = now().toISOString()
    const token = await assertedToken(user)
    await confirm(token, first.authenticatorId, codeAt(first.setupKey, now()))
    clock.advance({ seconds: 30 })
    const code = codeAt(first.setupKey, now())
    const as = (await verify(await assertedToken(user), code)).json().accessToken
    const pending = (await enroll(as, { name: 'Tablet' })).json()
    const answer = await list(as)
    t.equal(answer.statusCode, 200)
    t.same(answer.json(), {
      items: [
        {
          id: first.authenticatorId,
          name: 'Authenticator',
          state: 'active',
          createdAt: startedAt,
          confirmedAt,
          lastUsedAt: now().toISOString()
        },
        {
          id: pending.authenticatorId,
          name: 'Tablet',
          state: 'pending',
          createdAt: now().toISOString(),
          confirmedAt: null,
          lastUsedAt: null
        }
      ]
    })
    clock.advance({ minutes: 10 })
    t.same(idsOf(await list(as)), [first.authenticatorId])
  })

  t.test('200: oneself as me and by id, an admin everybody of the account', async (t) => {
    const { user, as } = await userWithTwo()
    const admin = await createUser({ role: 'admin' })
    const asMe = await list(as)
    t.equal(asMe.json().items.length, 2)
    t.equal((await list(as, user.id)).body, asMe.body)
    // An admin looks after a password alone: looking is nothing that needs a second factor.
    t.equal((await list(await assertedToken(admin), user.id)).body, asMe.body)
  })

  t.test('403: not for others, whether or not there is such a user', async (t) => {
    const [member, other] = [await createUser(), await enrolledUser()]
    const as = await assertedToken(member)
    const event = { type: 'authenticator.read', actorId: member.id, userId: other.id }
    await isRefused(t, member, () => list(as, other.id), [403, 'limited-access'], event)
    t.same(tellTales(await list(as, UNKNOWN)), tellTales(await list(as, other.id)))
  })
})

t.test('PATCH …/authenticators/{authenticatorId}', async (t) => {
  t.test('200: the authenticator as the list has it; tokens stay alive', async (t) => {
    const user = await enrolledUser()
    const as = await user.accessToken()
    const stepToken = await user.stepToken()
    const id = user.authenticatorId
    const type = 'authenticator.rename'
    const event = { type, targetId: id, actorId: user.id, details: { name: 'Phone' } }
    const act = () => rename(as, id, { name: 'Phone' })
    const answer = await isDone(t, user, act, { status: 200, event, mail: null })
    t.match(answer.json(), { id, name: 'Phone', state: 'active' })
    t.same((await list(as)).json().items, [answer.json()])
    t.equal((await rename(as, id, { name: 'Phone' }, user.id)).statusCode, 200, 'its own name')
    t.equal((await verify(stepToken, user.nextCode())).statusCode, 200)
    t.ok(await isAlive(as))
  })

  t.test('200: one that waits for its first code becomes active by its new name', async (t) => {
    const user = await enrolledUser()
    const as = await user.accessToken()
    const { authenticatorId, setupKey } = (await enroll(as)).json()
    const renamed = await rename(as, authenticatorId, { name: 'Tablet' })
    t.match(renamed.json(), { name: 'Tablet', state: 'pending', confirmedAt: null })
    const confirmed = await confirm(as, authenticatorId, codeAt(setupKey, now()))
    const { items } = (await list(confirmed.json().accessToken)).json()
    t.same(
      items.map(({ name }: { name: string }) => name),
      ['Authenticator', 'Tablet']
    )
  })

  t.test('409: no two have one name, though two users may', async (t) => {
    const { user, as } = await userWithTwo()
    const pending = (await enroll(as, { name: 'Watch' })).json()
    const event = { type: 'authenticator.rename', targetId: user.authenticatorId }
    for (const name of ['Tablet', 'Watch']) {
      const act = () => rename(as, user.authenticatorId, { name })
      await isRefused(t, user, act, [409, 'name-taken'], event)
    }
    const act = () => rename(as, pending.authenticatorId, { name: 'Tablet' })
    await isRefused(t, user, act, [409, 'name-taken'])
    // Half a surrogate pair, which can't be stored as it is.
    const halves = { name: 'Phone \ud83d' }
    const [one, another] = (await list(as)).json().items
    t.equal((await rename(as, one.id, halves)).statusCode, 200)
    await isRefused(t, user, () => rename(as, another.id, halves), [409, 'name-taken'])
    const other = await enrolledUser()
    const asOther = await other.accessToken()
    t.equal((await rename(asOther, other.authenticatorId, { name: 'Tablet' })).statusCode, 200)
  })

  t.test('404: what is not theirs, or not there any more', async (t) => {
    const [user, other] = [await enrolledUser(), await enrolledUser()]
    const expired = (await enroll(await user.accessToken())).json()
    clock.advance({ minutes: 10 })
    const as = await user.accessToken()
    const theirs = (await enroll(await other.accessToken())).json()
    for (const id of [
      UNKNOWN,
      other.authenticatorId,
      theirs.authenticatorId,
      expired.authenticatorId
    ]) {
      for (const act of [() => rename(as, id, { name: 'Tablet' }), () => remove(as, id)]) {
        await isRefused(t, user, act, [404, 'authenticator-not-found'], { targetId: id })
      }
    }
    t.same(idsOf(await list(await other.accessToken())), [
      other.authenticatorId,
      theirs.authenticatorId
    ])
  })

  t.test('400: names and ids that are none', async (t) => {
    const user = await enrolledUser()
    const as = await user.accessToken()
    const id = user.authenticatorId
    for (const [path, body, pointer] of [
      [id, {}, '/name'],
      [id, { name: '' }, '/name'],
      [id, { name: 'x'.repeat(51) }, '/name'],
      [id, { name: 'a\u0000b' }, '/name'],
      [id, { name: 1 }, '/name'],
      [id, { name: 'Phone', state: 'active' }, '/state'],
      [id.toUpperCase(), { name: 'Phone' }, '/authenticatorId'],
      ['me', { name: 'Phone' }, '/authenticatorId']
    ] as const) {
      const document = isProblem(t, await rename(as, path, body), 400, 'invalid-request')
      t.ok(pointersOf(document).includes(pointer), pointer)
    }
    isProblem(t, await remove(as, id.toUpperCase()), 400, 'invalid-request')
    isProblem(t, await revoke(as, id.toUpperCase()), 400, 'invalid-request')
    t.match((await list(as)).json().items, [{ id, name: 'Authenticator' }])
  })
})

t.test('DELETE …/authenticators/{authenticatorId}', async (t) => {
  t.test('204: one of two; its codes are dead, and every token of before', async (t) => {
    const { user, tablet, as } = await userWithTwo()
    await trust(user, { days: 30 })
    clock.advance({ seconds: 30 })
    const stepToken = await user.stepToken()
    const { accessToken } = (await verify(await user.stepToken(), user.nextCode())).json()
    const before = await stateOf(user)
    const event = {
      type: 'authenticator.remove',
      actorId: user.id,
      targetKind: 'authenticator',
      targetId: user.authenticatorId,
      details: { authenticator: 'Authenticator', twoFactor: 'on' }
    }
    const mail = { kind: 'authenticator_removed', details: { authenticator: 'Authenticator' } }
    const act = () => remove(as, user.authenticatorId)
    const answer = await isDone(t, user, act, { status: 204, event, mail })
    t.equal(answer.body, '')
    const after = await stateOf(user)
    t.match(after.user, raisedFrom(before))
    t.equal(before.devices.length, 1)
    t.same(after.devices, [], 'they may be trusted by the word of the one that is gone')

    for (const token of [as, accessToken]) {
      isProblem(t, await list(token), 401, 'invalid-credential')
    }
    clock.advance({ seconds: 30 })
    const ofTablet = () => codeAt(tablet.setupKey, now())
    isProblem(t, await verify(stepToken, ofTablet()), 401, 'invalid-credential')
    isProblem(t, await verify(await user.stepToken(), user.nextCode()), 422, 'code-rejected')
    const signIn = await verify(await user.stepToken(), ofTablet())
    t.equal(signIn.statusCode, 200)
    t.equal((await recover(await user.stepToken(), user.recoveryCodes[0] ?? '')).statusCode, 200)

    const again = signIn.json().accessToken
    t.equal((await enroll(again, { name: 'Authenticator' })).statusCode, 201, 'its name is free')
  })

  t.test('204: the last one, where it may go: two-factor is off', async (t) => {
    const user = await enrolledUser()
    const as = await user.accessToken()
    const pending = (await enroll(as)).json()
    await trust(user, { days: 30 })
    const lock = { codeFailures: 10, codeLockedUntil: now(), codeDisabledAt: now() }
    await prisma.user.updateMany({
      where: { id: user.id },
      data: { ...lock, recoveryFailures: 10, recoveryLockedUntil: now() }
    })
    const before = await stateOf(user)
    const event = {
      type: 'authenticator.remove',
      targetId: user.authenticatorId,
      details: { authenticator: 'Authenticator', twoFactor: 'off' }
    }
    const mail = { kind: 'two_factor_disabled', details: {} }
    const act = () => remove(as, user.authenticatorId, user.id)
    await isDone(t, user, act, { status: 204, event, mail })
    await isOff(t, user, before)
    isProblem(t, await list(as), 401, 'invalid-credential')
    const token = await assertedToken(user)
    const late = await confirm(token, pending.authenticatorId, codeAt(pending.setupKey, now()))
    isProblem(t, late, 404, 'enrollment-not-found')
  })

  t.test('204: five, then four, then room for another', async (t) => {
    const user = await enrolledUser()
    let as = await user.accessToken()
    for (let count = 2; count <= 5; count += 1) as = (await add(as)).accessToken
    isProblem(t, await enroll(as), 409, 'too-many-authenticators')
    t.equal((await remove(as, user.authenticatorId)).statusCode, 204)
    const [recoveryCode = ''] = user.recoveryCodes
    const signIn = await recover(await user.stepToken(), recoveryCode)
    t.equal((await enroll(signIn.json().accessToken)).statusCode, 201)
  })

  t.test('204: what was to be replaced may go first', async (t) => {
    const { user, tablet, as } = await userWithTwo()
    const pending = (await enroll(as, { replaces: user.authenticatorId })).json()
    t.equal((await remove(as, user.authenticatorId)).statusCode, 204)
    clock.advance({ seconds: 30 })
    const signIn = await verify(await user.stepToken(), codeAt(tablet.setupKey, now()))
    const again = signIn.json().accessToken
    const code = codeAt(pending.setupKey, now())
    const confirmed = await confirm(again, pending.authenticatorId, code)
    t.match(confirmed.json(), { reason: 'enrolled', recoveryCodesRemaining: 10 })
    t.equal(confirmed.json().recoveryCodes, undefined)
    const successor = confirmed.json().accessToken
    t.same(idsOf(await list(successor)), [tablet.authenticatorId, pending.authenticatorId])
  })

  t.test('409: not the last one while the account requires two-factor', async (t) => {
    const account = await createAccount()
    const { user, tablet, as } = await userWithTwo({ account })
    await changePolicy(account, { twoFactor: 'required' })
    t.equal((await remove(as, tablet.authenticatorId)).statusCode, 204, 'the last but one')
    const left = await user.accessToken()
    // A set-up that waits is no second one yet.
    const pending = (await enroll(left)).json()
    const act = () => remove(left, user.authenticatorId)
    const event = { type: 'authenticator.remove', targetId: user.authenticatorId }
    await isRefused(t, user, act, [409, 'policy-requires-authenticator'], event)
    t.ok(await isAlive(left))
    t.equal((await remove(left, pending.authenticatorId)).statusCode, 204, 'the set-up may go')
    await changePolicy(account, { twoFactor: 'optional' })
    t.equal((await remove(left, user.authenticatorId)).statusCode, 204)
  })

  t.test('204: a cancelled set-up is no good any more, and no token dies of it', async (t) => {
    const user = await enrolledUser()
    const as = await user.accessToken()
    const stepToken = await user.stepToken()
    const { authenticatorId, setupKey } = (await enroll(as)).json()
    const event = {
      type: 'authenticator.remove',
      targetId: authenticatorId,
      details: { state: 'pending' }
    }
    const act = () => remove(as, authenticatorId)
    await isDone(t, user, act, { status: 204, event, mail: null })
    const code = codeAt(setupKey, now())
    const late = await confirm(as, authenticatorId, code)
    isProblem(t, late, 404, 'enrollment-not-found')
    t.same(idsOf(await list(as)), [user.authenticatorId])
    t.equal((await verify(stepToken, user.nextCode())).statusCode, 200)
    isProblem(t, await remove(as, authenticatorId), 404, 'authenticator-not-found')
  })

  t.test('401: of two requests that each remove one of two, one is too late', async (t) => {
    const { user, tablet, as } = await userWithTwo()
    const answers = await Promise.all(
      [user, tablet].map(({ authenticatorId }) => remove(as, authenticatorId))
    )
    t.same(answers.map(verdictOf).sort(), ['204', '401 invalid-credential'])
    t.equal((await stateOf(user)).authenticators.length, 1)
  })
})

t.test('DELETE /v1/users/{userId}/two-factor', async (t) => {
  t.test('204: off, with all that belongs to it; the next sign-in needs no code', async (t) => {
    const { user, tablet, as } = await userWithTwo()
    await trust(user, { days: 30 })
    const before = await stateOf(user)
    const event = { type: 'two_factor.turn_off', targetKind: 'user', targetId: user.id }
    const mail = { kind: 'two_factor_disabled', details: {} }
    await isDone(t, user, () => turnOff(as), { status: 204, event, mail })
    await isOff(t, user, before)
    isProblem(t, await turnOff(as), 401, 'invalid-credential')

    // Turned on again it is new in every part.
    const token = await assertedToken(user)
    const { authenticatorId, setupKey } = (await enroll(token)).json()
    const answer = await confirm(token, authenticatorId, codeAt(setupKey, now()))
    const { recoveryCodes } = answer.json()
    t.equal(recoveryCodes.length, 10)
    clock.advance({ minutes: 1 })
    for (const code of [user.nextCode(), codeAt(tablet.setupKey, now())]) {
      isProblem(t, await verify(await user.stepToken(), code), 422, 'code-rejected')
    }
    const [old = ''] = user.recoveryCodes
    isProblem(t, await recover(await user.stepToken(), old), 422, 'code-rejected')
    t.equal((await recover(await user.stepToken(), recoveryCodes[0])).statusCode, 200)
  })

  t.test('409: not while the account requires it, however many there are', async (t) => {
    const account = await createAccount()
    const { user, as } = await userWithTwo({ account })
    await changePolicy(account, { twoFactor: 'required' })
    const event = { type: 'two_factor.turn_off', targetId: user.id }
    for (const id of ['me', user.id]) {
      const act = () => turnOff(as, id)
      await isRefused(t, user, act, [409, 'policy-requires-authenticator'], event)
    }
    t.ok(await isAlive(as))
  })

  t.test('204: where it is off already nothing happens', async (t) => {
    const account = await createAccount()
    const user = await enrolledUser({ account })
    const as = await user.accessToken()
    // Nothing leaves a fresh second factor and no authenticator behind, but the database could.
    await prisma.authenticator.deleteMany({ where: { userId: user.id } })
    await changePolicy(account, { twoFactor: 'required' })
    const before = await stateOf(user)
    const { answer, events, mails } = await traced(user, () => turnOff(as))
    t.equal(answer.statusCode, 204)
    t.same({ events, mails }, { events: [], mails: [] })
    t.same(await stateOf(user), before)
  })
})

t.test('trusted devices', async (t) => {
  t.test('200: those that are still trusted, newest first, for oneself and admins', async (t) => {
    const [user, other] = [await createUser(), await createUser()]
    const admin = await createUser({ role: 'admin' })
    t.same((await listDevices(await assertedToken(user))).json(), { items: [] })
    await trust(user, { days: 1 })
    const older = await trust(user, { days: 30 })
    await trust(other, { days: 30 })
    clock.advance({ minutes: 24 * 60 })
    const newer = await trust(user, { days: 30 })
    const lastUsedAt = now()
    await prisma.trustedDevice.updateMany({ where: { id: older.id }, data: { lastUsedAt } })
    const as = await assertedToken(user)
    const answer = await listDevices(as)
    t.same(answer.json(), {
      items: [
        { ...newer, lastUsedAt: null },
        { ...older, lastUsedAt: lastUsedAt.toISOString() }
      ]
    })
    t.equal((await listDevices(as, user.id)).body, answer.body)
    t.equal((await listDevices(await assertedToken(admin), user.id)).body, answer.body)
  })

  t.test('204: one is trusted no longer, and no token dies of it', async (t) => {
    const [user, admin] = [await createUser(), await createUser({ role: 'admin' })]
    const as = await assertedToken(user)
    for (const [actor, userId, token] of [
      [user, 'me', as],
      [user, user.id, as],
      [admin, user.id, await assertedToken(admin)]
    ] as const) {
      const [kept, lost] = [await trust(user, { days: 30 }), await trust(user, { days: 30 })]
      const event = {
        type: 'device.revoke',
        actorId: actor.id,
        targetKind: 'device',
        targetId: lost.id
      }
      const act = () => revoke(token, lost.id, userId)
      await isDone(t, user, act, { status: 204, event, mail: null })
      t.ok(idsOf(await listDevices(as)).includes(kept.id))
      t.notOk(idsOf(await listDevices(as)).includes(lost.id))
      await isRefused(t, user, act, [404, 'device-not-found'], event)
    }
  })

  t.test('404: a device that is somebody else’s, unknown or expired', async (t) => {
    const [user, other] = [await createUser(), await createUser()]
    const expired = await trust(user, { days: 0 })
    const theirs = await trust(other, { days: 30 })
    const as = await assertedToken(user)
    for (const id of [UNKNOWN, theirs.id, expired.id]) {
      await isRefused(t, user, () => revoke(as, id), [404, 'device-not-found'])
    }
    t.equal((await stateOf(other)).devices.length, 1)
    const act = () => revoke(as, theirs.id, other.id)
    await isRefused(t, other, act, [403, 'limited-access'], { userId: other.id })
  })
})

t.test(
  "404: another account's user and an unknown id answer alike, byte for byte but for requestId",
  async (t) => {
    const admin = await createUser({ role: 'admin' })
    const foreigner = await enrolledUser({ account: await createAccount() })
    const device = await trust(foreigner, { days: 30 })
    const as = await assertedToken(admin)
    for (const act of [
      (userId: string) => list(as, userId),
      (userId: string) => listDevices(as, userId),
      (userId: string) => revoke(as, device.id, userId)
    ]) {
      const refused = await act(foreigner.id)
      isProblem(t, refused, 404, 'user-not-found')
      t.same(tellTales(await act(UNKNOWN)), tellTales(refused))
    }
    t.equal((await stateOf(foreigner)).devices.length, 1)
    isProblem(t, await list(as, foreigner.id.toUpperCase()), 400, 'invalid-request')
  }
)

t.test('401, 403: only with a second factor just now, only oneself, only people', async (t) => {
  const account = await createAccount()
  const user = await enrolledUser({ account })
  const stale = await user.accessToken()
  clock.advance({ seconds: 601 })
  const admin = await enrolledUser({ account, role: 'admin' })
  const asAdmin = await admin.accessToken()
  const stepToken = await user.stepToken()
  for (const [type, act] of [
    [
      'authenticator.rename',
      (as: string, id: string) => rename(as, user.authenticatorId, { name: 'Mine' }, id)
    ],
    ['authenticator.remove', (as: string, id: string) => remove(as, user.authenticatorId, id)],
    ['two_factor.turn_off', turnOff]
  ] as const) {
    for (const [as, id, problem] of [
      [stale, 'me', [401, 'step-up-required']],
      [stepToken, 'me', [401, 'invalid-credential']],
      [asAdmin, user.id, [403, 'limited-access']],
      [account.apiKey, user.id, [403, 'insufficient-scope']]
    ] as const) {
      const document = await isRefused(t, user, () => act(as, id), problem, { type })
      if (as === stale) t.equal(document['next'], 'verify')
    }
    isProblem(t, await act(OPERATOR_KEY, user.id), 403, 'insufficient-scope')
  }
})

t.test('500: nothing is done that can’t be put on record, or told', async (t) => {
  const { user, as } = await userWithTwo()
  const pending = (await enroll(as)).json()
  const device = await trust(user, { days: 30 })
  const me = '/v1/users/me'
  const removal = ['DELETE', `${me}/authenticators/${user.authenticatorId}`] as const
  const turningOff = ['DELETE', `${me}/two-factor`] as const
  const others = [
    ['PATCH', `${me}/authenticators/${user.authenticatorId}`],
    ['DELETE', `${me}/authenticators/${pending.authenticatorId}`],
    ['DELETE', `${me}/devices/${device.id}`]
  ] as const
  const before = await stateOf(user)
  for (const [table, check, acts] of [
    ['AuditEvent', `outcome <> 'succeeded'`, [removal, turningOff, ...others]],
    ['OutboxMail', 'false', [removal, turningOff]]
  ] as const) {
    const name = `"${table}_broken"`
    const add = `ALTER TABLE "${table}" ADD CONSTRAINT ${name} CHECK (${check}) NOT VALID`
    await prisma.$executeRawUnsafe(add)
    for (const [method, url] of acts) {
      const headers = { authorization: `Bearer ${as}` }
      const payload = method === 'PATCH' ? { payload: { name: 'Phone' } } : {}
      const { statusCode } = await service.app.inject({ method, url, headers, ...payload })
      t.equal(statusCode, 500, `${table}: ${method} ${url}`)
    }
    await prisma.$executeRawUnsafe(`ALTER TABLE "${table}" DROP CONSTRAINT ${name}`)
  }
  t.same(await stateOf(user), before)
})

/** A user's row after what has ended the tokens and the verdicts of before. */
function raisedFrom({ user }: Awaited<ReturnType<typeof stateOf>>) {
  const { epoch = 0, codePathVersion = 0 } = user ?? {}
  return { epoch: epoch + 1, codePathVersion: codePathVersion + 1 }
}

/** Asserts that nothing of two-factor is left, and that a password is all that a sign-in needs. */
async function isOff(
  t: Test,
  user: TestUser,
  before: Awaited<ReturnType<typeof stateOf>>
): Promise<void> {
  const after = await stateOf(user)
  t.match(after.user, {
    ...raisedFrom(before),
    codeFailures: 0,
    codeLockedUntil: null,
    codeDisabledAt: null,
    recoveryFailures: 0,
    recoveryLockedUntil: null
  })
  const { authenticators, enrollments, recoveryCodes, devices } = after
  t.same([authenticators, enrollments, recoveryCodes, devices], [[], [], 0, []])
  const body = { userId: user.id, firstFactor: 'pwd' }
  const signIn = await call('POST', '/v1/login/assertion', { as: user.account.apiKey, body })
  t.match(signIn.json(), { status: 'authenticated', reason: 'not_required' })
}
