// B7: an admin lists the users with two-factor, resets one of them and gets a confirmation. The next sign-in of that user
// leads to the set-up again.
import t from 'tap'
import { startApp } from '../support/app.ts'
import { openMailbox } from '../support/mailbox.ts'
import { isProblem } from '../support/problems.ts'

const mailbox = await openMailbox(t)
const service = await startApp(t, { listen: true, env: { SMTP_URL: mailbox.url } })
const { call, changePolicy, client, clock, codeAt, confirm, createAccount, createUser } = service
const { enroll, enrolledUser, login, verify } = service

const bearer = (credential: string) => ({ headers: { authorization: `Bearer ${credential}` } })

t.test(
  'an admin finds the user in the list and resets it, and the user sets up a new phone',
  async (t) => {
    const account = await createAccount()
    const admin = await enrolledUser({ account, role: 'admin' })
    const grace = await enrolledUser({ account, email: 'grace@example.com' })
    await createUser({ account })
    await changePolicy(account, { twoFactor: 'required' })
    const asAdmin = bearer(await admin.accessToken())
    const left = await grace.stepToken()

    const list = await client.GET('/v1/users', {
      ...asAdmin,
      params: { query: { twoFactor: 'enabled', q: 'GRACE@' } }
    })
    t.match(list.data?.items, [
      { id: grace.id, twoFactor: { state: 'enabled', authenticators: 1 } }
    ])
    t.equal(list.data?.items.length, 1)
    const enabled = await client.GET('/v1/users', {
      ...asAdmin,
      params: { query: { twoFactor: 'enabled' } }
    })
    t.same(
      enabled.data?.items.map(({ id }) => id),
      [admin.id, grace.id]
    )

    const reset = await client.POST('/v1/users/{userId}/reset', {
      ...asAdmin,
      params: { path: { userId: grace.id } },
      body: { reason: 'Lost phone, identified in person' }
    })
    t.same(reset.data, {
      userId: grace.id,
      email: grace.email,
      resetAt: clock.now().toISOString(),
      nextSignIn: 'enrollment_required'
    })
    isProblem(t, await verify(left, grace.nextCode()), 401, 'invalid-credential')

    await mailbox.mailTo('grace@example.com', /is on/)
    const told = await mailbox.mailTo('grace@example.com')
    t.match(told.subject, /reset/i)
    for (const text of [told.text, told.html]) {
      t.match(text, /set-up/)
      t.match(text, /If you didn(?:'|&#39;|’)t ask for this/)
      t.notMatch(text, grace.secret.replaceAll(' ', ''))
      t.notMatch(text, '127.0.0.1', 'the mail does not show the address of the admin')
    }

    const again = (await login(grace)).json()
    t.match(again, { status: 'enrollment_required', reason: 'account_required' })
    const setUp = (await enroll(again.stepToken)).json()
    t.not(setUp.setupKey, grace.secret)
    const code = codeAt(setUp.setupKey, clock.now())
    const done = (await confirm(again.stepToken, setUp.authenticatorId, code)).json()
    t.match(done, { status: 'authenticated', reason: 'enrolled', recoveryCodesRemaining: 10 })
    await mailbox.mailTo('grace@example.com', /is on/)
    clock.advance({ seconds: 30 })
    const { stepToken } = (await login(grace)).json()
    const old = await verify(stepToken, grace.codeAt(clock.now()))
    isProblem(t, old, 422, 'code-rejected')
    t.equal((await verify(stepToken, codeAt(setUp.setupKey, clock.now()))).statusCode, 200)

    const trail = await client.GET('/v1/audit-events', {
      ...bearer(account.apiKey),
      params: { query: { type: 'user.reset', userId: grace.id } }
    })
    t.match(trail.data?.items, [
      {
        outcome: 'succeeded',
        actor: { kind: 'user', id: admin.id, credential: 'access_token' },
        target: { kind: 'user', id: grace.id },
        reason: 'Lost phone, identified in person',
        ticket: null,
        address: '127.0.0.1'
      }
    ])
  }
)

t.test('where two-factor is optional, a reset leads to a new set-up too', async (t) => {
  const account = await createAccount()
  const admin = await enrolledUser({ account, role: 'admin' })
  const user = await enrolledUser({ account, email: 'alan@example.com' })
  const reset = await client.POST('/v1/users/{userId}/reset', {
    ...bearer(await admin.accessToken()),
    params: { path: { userId: user.id } },
    body: { reason: 'Lost phone' }
  })
  t.match(reset.data, { email: user.email, nextSignIn: 'enrollment_required' })
  await mailbox.mailTo(user.email, /is on/)
  t.match((await mailbox.mailTo(user.email, /reset/)).text, /leads you through a new set-up/)

  const since = clock.now().toISOString()
  const shown = async () => {
    const { data } = await client.GET('/v1/users/{userId}', {
      ...bearer(account.apiKey),
      params: { path: { userId: user.id } }
    })
    return data?.twoFactor
  }
  const pending = { by: 'reset', since }
  t.match(await shown(), { state: 'disabled', requirement: pending, required: true })
  for (let time = 0; time < 2; time += 1) {
    const { status, reason } = (await login(user)).json()
    t.same([status, reason], ['enrollment_required', 'reset_pending'], 'at every sign-in')
  }
  const { stepToken } = (await login(user)).json()
  const { authenticatorId, setupKey } = (await enroll(stepToken)).json()
  const done = await confirm(stepToken, authenticatorId, codeAt(setupKey, clock.now()))
  t.match(done.json(), { status: 'authenticated', reason: 'enrolled' })
  t.match(await shown(), { state: 'enabled', requirement: null, required: false })

  const off = await call('DELETE', '/v1/users/me/two-factor', { as: done.json().accessToken })
  t.equal(off.statusCode, 204, 'after the set-up, the user chooses again')
  t.match((await login(user)).json(), { status: 'authenticated', reason: 'not_required' })
})

t.test('a user who never had two-factor and does not need it needs no set-up', async (t) => {
  const user = await createUser()
  await enroll((await login(user)).json().accessToken)
  const answer = await call('POST', `/v1/users/${user.id}/reset`, { as: user.account.apiKey })
  t.match(answer.json(), { userId: user.id, email: user.email, nextSignIn: 'not_required' })
  t.match((await login(user)).json(), { status: 'authenticated', reason: 'not_required' })
})
