import t from 'tap'
import { createEnrollments } from '../../../src/data/users/enrollments.ts'
import { type EnrolledUser, OPERATOR_KEY, startApp, UNKNOWN } from '../../support/app.ts'
import { isProblem, pointersOf } from '../../support/problems.ts'

const service = await startApp(t)
const { assertedToken, call, changePolicy, clock, codeAt, confirm, createAccount } = service
const { createUser, enroll, enrolledUser, verify } = service

const now = () => clock.now()

/** Adds an authenticator to a user. Returns it with the access token that is valid now. */
async function add(as: string, body: object = {}) {
  const { authenticatorId, setupKey } = (await enroll(as, body)).json()
  const confirmed = await confirm(as, authenticatorId, codeAt(setupKey, now()))
  if (confirmed.statusCode !== 200) throw new Error(confirmed.body)
  return { authenticatorId, setupKey, answer: confirmed.json() }
}

async function twoFactorOf({ id, account }: EnrolledUser) {
  return (await call('GET', `/v1/users/${id}`, { as: account.apiKey })).json().twoFactor
}

t.test('200: a user turns two-factor on with only a recent password', async (t) => {
  const user = await createUser()
  const { answer } = await add(await assertedToken(user))
  t.match(answer, { status: 'authenticated', reason: 'enrolled', recoveryCodesRemaining: 10 })
  t.equal(answer.recoveryCodes.length, 10)

  const late = await assertedToken(await createUser())
  clock.advance({ seconds: 601 })
  const refused = await enroll(late)
  t.equal(isProblem(t, refused, 401, 'step-up-required')['next'], 'login')
})

t.test('401: one factor never adds an authenticator to a user who has one', async (t) => {
  const user = await createUser()
  const [before, beside] = [await assertedToken(user), await assertedToken(user)]
  const pending = (await enroll(beside)).json()
  await add(before)
  // The confirmed enrollment raised the epoch, so all earlier tokens are invalid.
  isProblem(t, await enroll(beside), 401, 'invalid-credential')
  const code = codeAt(pending.setupKey, now())
  const answer = await confirm(beside, pending.authenticatorId, code)
  isProblem(t, answer, 401, 'invalid-credential')
})

t.test(
  '401: the first confirmed authenticator invalidates every step token of a set-up',
  async (t) => {
    const account = await createAccount()
    await changePolicy(account, { twoFactor: 'required' })
    const user = await createUser({ account })
    const [mine, theirs] = [await assertedToken(user), await assertedToken(user)]
    const { authenticatorId, setupKey } = (await enroll(mine)).json()
    t.equal((await confirm(mine, authenticatorId, codeAt(setupKey, now()))).statusCode, 200)
    isProblem(t, await enroll(theirs), 401, 'invalid-credential')
  }
)

t.test(
  '201: a second authenticator needs a fresh second factor, and brings no recovery codes',
  async (t) => {
    const user = await enrolledUser()
    const as = await user.accessToken()
    clock.advance({ seconds: 601 })
    t.equal(isProblem(t, await enroll(as), 401, 'step-up-required')['next'], 'verify')

    const fresh = await user.accessToken()
    const second = await add(fresh)
    t.equal(second.answer.recoveryCodesRemaining, 10)
    t.equal(second.answer['recoveryCodes'], undefined)
    isProblem(t, await call('GET', '/v1/users/me', { as: fresh }), 401, 'invalid-credential')
    const successor = second.answer.accessToken
    t.equal((await call('GET', '/v1/users/me', { as: successor })).statusCode, 200)
    t.match(await twoFactorOf(user), { state: 'enabled', authenticators: 2 })

    clock.advance({ seconds: 30 })
    t.equal(
      (await verify(await user.stepToken(), user.nextCode())).statusCode,
      200,
      'the first authenticator works'
    )
    const ofSecond = codeAt(second.setupKey, now())
    t.equal(
      (await verify(await user.stepToken(), ofSecond)).statusCode,
      200,
      'the second authenticator works'
    )
    isProblem(t, await verify(await user.stepToken(), ofSecond), 422, 'code-rejected')
  }
)

t.test('409: a user’s authenticators have different names', async (t) => {
  const user = await enrolledUser()
  const as = await user.accessToken()
  isProblem(t, await enroll(as, { name: 'Authenticator' }), 409, 'name-taken')
  const { answer } = await add(as, { name: 'Tablet' })
  isProblem(t, await enroll(answer.accessToken, { name: 'Tablet' }), 409, 'name-taken')
  t.equal((await enroll(answer.accessToken)).statusCode, 201, 'a free default name is chosen')
})

t.test('409: a sixth authenticator is refused, but one of five may be replaced', async (t) => {
  const user = await enrolledUser()
  let as = await user.accessToken()
  for (let count = 2; count <= 5; count += 1) as = (await add(as)).answer.accessToken
  isProblem(t, await enroll(as), 409, 'too-many-authenticators')
  const { answer } = await add(as, { replaces: user.authenticatorId })
  t.equal(answer.status, 'authenticated')
  t.match(await twoFactorOf(user), { authenticators: 5 })
})

t.test('200: a replaced authenticator works until the new one is confirmed', async (t) => {
  const user = await enrolledUser()
  const as = await user.accessToken()
  const pending = (await enroll(as, { replaces: user.authenticatorId })).json()
  t.equal((await verify(await user.stepToken(), user.nextCode())).statusCode, 200)
  const confirmed = await confirm(as, pending.authenticatorId, codeAt(pending.setupKey, now()))
  t.equal(confirmed.statusCode, 200)
  t.equal(confirmed.json().recoveryCodesRemaining, 10)
  clock.advance({ seconds: 60 })
  isProblem(t, await verify(await user.stepToken(), user.nextCode()), 422, 'code-rejected')
  const ofNew = codeAt(pending.setupKey, now())
  t.equal((await verify(await user.stepToken(), ofNew)).statusCode, 200)
  t.match(await twoFactorOf(user), { authenticators: 1 })
})

t.test('404: a user cannot replace or confirm the authenticator of another user', async (t) => {
  const [user, other] = [await enrolledUser(), await enrolledUser()]
  const as = await user.accessToken()
  for (const replaces of [UNKNOWN, other.authenticatorId]) {
    isProblem(t, await enroll(as, { replaces }), 404, 'authenticator-not-found')
  }
  const theirs = (await enroll(await other.accessToken())).json()
  for (const authenticatorId of [UNKNOWN, theirs.authenticatorId, user.authenticatorId]) {
    const answer = await confirm(as, authenticatorId, codeAt(theirs.setupKey, now()))
    isProblem(t, answer, 404, 'enrollment-not-found')
  }
})

t.test('422: a wrong code leaves the set-up pending and locks nothing', async (t) => {
  const user = await enrolledUser()
  const as = await user.accessToken()
  const { authenticatorId, setupKey } = (await enroll(as)).json()
  const wrong = codeAt(setupKey, new Date(now().getTime() + 86_400_000))
  for (let tries = 0; tries < 10; tries += 1) {
    isProblem(t, await confirm(as, authenticatorId, wrong), 422, 'code-rejected')
  }
  isProblem(t, await confirm(as, authenticatorId, wrong), 410, 'enrollment-expired')
  t.match(await twoFactorOf(user), { lockedUntil: null })
  t.equal((await verify(await user.stepToken(), user.nextCode())).statusCode, 200)
})

t.test('404: an enrollment is deleted an hour after it has expired', async (t) => {
  const as = await assertedToken(await createUser())
  const { authenticatorId } = (await enroll(as)).json()
  clock.advance({ minutes: 10 })
  const { forgetExpired } = createEnrollments(service.database.prisma)
  await forgetExpired(new Date(now().getTime() + 59 * 60_000))
  isProblem(t, await confirm(as, authenticatorId, '123456'), 410, 'enrollment-expired')
  await forgetExpired(new Date(now().getTime() + 61 * 60_000))
  isProblem(t, await confirm(as, authenticatorId, '123456'), 404, 'enrollment-not-found')
})

t.test('403: keys are refused', async (t) => {
  const { apiKey } = await createAccount()
  for (const as of [apiKey, OPERATOR_KEY]) {
    isProblem(t, await enroll(as), 403, 'insufficient-scope')
    isProblem(t, await confirm(as, UNKNOWN, '123456'), 403, 'insufficient-scope')
  }
})

t.test('400: invalid fields of a set-up are rejected', async (t) => {
  const as = await assertedToken(await createUser())
  for (const [body, pointer] of [
    [{ qr: 'gif' }, '/qr'],
    [{ qr: null }, '/qr'],
    [{ name: '' }, '/name'],
    [{ name: 'x'.repeat(51) }, '/name'],
    [{ name: 'a\u0000b' }, '/name'],
    [{ replaces: 'none' }, '/replaces'],
    [{ secret: 'GEZDGNBVGY3TQOJQ' }, '/secret'],
    [{ digits: 8 }, '/digits']
  ] as const) {
    t.same(pointersOf(isProblem(t, await enroll(as, body), 400, 'invalid-request')), [pointer])
  }
})
