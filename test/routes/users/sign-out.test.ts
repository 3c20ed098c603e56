// Signing a user out everywhere: every earlier token is revoked, and the trusted devices if that is asked for.
import t from 'tap'
import { OPERATOR_KEY, UNKNOWN } from '../../support/app.ts'
import { isProblem } from '../../support/problems.ts'
import { startWithFactors } from './factors.ts'

const service = await startWithFactors(t)
const { assertedToken, call, clock, codeAt, confirm, createAccount, createApiKey } = service
const { createUser, enroll, enrolledUser, isAccepted, isDone, stateOf, traced, trust, verify } =
  service

const signOut = (as: string, userId = 'me', body?: object) =>
  call('POST', `/v1/users/${userId}/sign-out`, { as, ...(body && { body }) })
const EVENT = { type: 'user.sign_out', targetKind: 'user' }

t.test('204: users sign themselves out, with any live access token', async (t) => {
  const user = await enrolledUser()
  await trust(user, { days: 30 })
  const [one, other] = [await user.accessToken(), await user.accessToken()]
  clock.advance({ seconds: 800 })
  const stepToken = await user.stepToken()
  const before = await stateOf(user)
  const event = { ...EVENT, targetId: user.id, details: { forgetDevices: false } }
  await isDone(t, user, () => signOut(one), { status: 204, event, mail: null })
  for (const token of [one, other]) t.notOk(await isAccepted(token))
  isProblem(t, await verify(stepToken, user.nextCode()), 401, 'invalid-credential')
  const after = await stateOf(user)
  t.equal(after.user?.epoch, (before.user?.epoch ?? 0) + 1)
  const kept = ({ user: _user, ...rows }: typeof after) => rows
  t.same(kept(after), kept(before), 'authenticators, recovery codes and devices stay')
  t.ok(await isAccepted(await user.accessToken()), 'the user signs in again')
  isProblem(t, await signOut(one), 401, 'invalid-credential')
})

t.test('204: trusted devices are revoked if that is asked for', async (t) => {
  const user = await enrolledUser()
  await trust(user, { days: 30 })
  const event = { ...EVENT, details: { forgetDevices: true } }
  const act = async () => signOut(await user.accessToken(), user.id, { forgetDevices: true })
  t.match((await traced(user, act)).events.at(-1), event)
  t.same((await stateOf(user)).devices, [])
})

t.test("204: admins and API keys sign out others, and an admin's act is notified", async (t) => {
  const account = await createAccount()
  const admin = await enrolledUser({ account, role: 'admin' })
  const user = await createUser({ account })
  const asAdmin = await admin.accessToken()
  for (const [as, mails] of [
    [asAdmin, [{ kind: 'signed_out', details: { devicesForgotten: false }, address: null }]],
    [await createApiKey(account, 'users:write'), []]
  ] as const) {
    const token = await assertedToken(user)
    const done = await traced(user, () => signOut(as, user.id, {}))
    t.equal(done.answer.statusCode, 204)
    t.match(done.mails, mails)
    t.equal(done.mails.length, mails.length)
    t.notOk(await isAccepted(token))
  }
  t.ok(await isAccepted(asAdmin), 'the admin stays signed in')
})

t.test('401: a set-up that was begun before cannot be finished', async (t) => {
  const user = await createUser()
  const token = await assertedToken(user)
  const { authenticatorId, setupKey } = (await enroll(token)).json()
  await signOut(user.account.apiKey, user.id)
  const late = await confirm(token, authenticatorId, codeAt(setupKey, clock.now()))
  isProblem(t, late, 401, 'invalid-credential')
})

t.test('401, 403, 404: all other callers change nothing', async (t) => {
  const account = await createAccount()
  const stranger = await createAccount()
  const user = await createUser({ account })
  const admin = await enrolledUser({ account, role: 'admin' })
  const stale = await admin.accessToken()
  const before = await stateOf(user)
  clock.advance({ seconds: 601 })
  isProblem(t, await signOut(stale, user.id), 401, 'step-up-required')
  const member = await assertedToken(await createUser({ account }))
  isProblem(t, await signOut(member, user.id), 403, 'limited-access')
  for (const as of [OPERATOR_KEY, await createApiKey(account, 'users:read')]) {
    isProblem(t, await signOut(as, user.id), 403, 'insufficient-scope')
  }
  for (const id of [user.id, UNKNOWN]) {
    isProblem(t, await signOut(stranger.apiKey, id), 404, 'user-not-found')
  }
  isProblem(t, await signOut(account.apiKey, 'me'), 404, 'user-not-found')
  for (const body of [{ forgetDevices: 'yes' }, { devices: true }]) {
    isProblem(t, await signOut(account.apiKey, user.id, body), 400, 'invalid-request')
  }
  t.same(await stateOf(user), before)
})
