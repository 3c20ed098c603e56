// B4: while two-factor is optional in the account, users turn it on and off for themselves. Each change sends an e-mail,
// which the service delivers to a real mail server by SMTP.
import t from 'tap'
import { startApp } from '../support/app.ts'
import { openMailbox } from '../support/mailbox.ts'
import { isProblem } from '../support/problems.ts'

const mailbox = await openMailbox(t)
const service = await startApp(t, { listen: true, env: { SMTP_URL: mailbox.url } })
const { call, changePolicy, clock, codeAt, confirm, createAccount, createUser, enroll } = service
const { enrolledUser, login, verify } = service

t.test('a user turns two-factor on and off, and is notified of both by e-mail', async (t) => {
  const account = await createAccount({ name: 'Globex <Berlin>' })
  const user = await createUser({ account, email: 'ada@example.com' })
  const first = (await login(user)).json()
  t.match(first, { status: 'authenticated', reason: 'not_required' })

  const setUp = (await enroll(first.accessToken, { name: "Ada's phone" })).json()
  const code = codeAt(setUp.setupKey, clock.now())
  const on = (await confirm(first.accessToken, setUp.authenticatorId, code)).json()
  t.match(on, { status: 'authenticated', reason: 'enrolled' })
  const told = await mailbox.mailTo('ada@example.com')
  t.match(told.subject, /on/)
  for (const text of [told.text, told.html]) {
    t.match(text, /Two-step sign-in is (now )?on/)
    t.match(text, /5 January 2026/)
    t.match(text, '127.0.0.1', 'the mail names the address')
    t.match(text, /If this wasn(?:'|&#39;|’)t you/)
    for (const secret of [setUp.setupKey, setUp.setupKey.replaceAll(' ', ''), code]) {
      t.notMatch(text, secret)
    }
    for (const recoveryCode of on.recoveryCodes) t.notMatch(text, recoveryCode)
  }
  t.match(told.text, 'Globex <Berlin>')
  t.match(told.html, 'Globex &lt;Berlin&gt;')
  t.match((await login(user)).json(), { status: 'verification_required', reason: 'user_enabled' })

  const off = await call('DELETE', '/v1/users/me/two-factor', { as: on.accessToken })
  t.same([off.statusCode, off.body], [204, ''])
  t.match((await mailbox.mailTo('ada@example.com')).subject, /off/)
  t.match((await login(user)).json(), { status: 'authenticated', reason: 'not_required' })
  const dead = await call('GET', '/v1/users/me', { as: on.accessToken })
  isProblem(t, dead, 401, 'invalid-credential')
})

t.test('removing the last authenticator turns two-factor off', async (t) => {
  const user = await enrolledUser()
  const path = `/v1/users/me/authenticators/${user.authenticatorId}`
  t.equal((await call('DELETE', path, { as: await user.accessToken() })).statusCode, 204)
  t.match((await login(user)).json(), { status: 'authenticated' })
  await mailbox.mailTo(user.email, /on/)
  await mailbox.mailTo(user.email, /off/)
})

t.test('users choose only while two-factor is optional in the account', async (t) => {
  const account = await createAccount()
  const user = await enrolledUser({ account })
  await changePolicy(account, { twoFactor: 'required' })
  const as = await user.accessToken()
  for (const path of ['two-factor', `authenticators/${user.authenticatorId}`]) {
    const answer = await call('DELETE', `/v1/users/me/${path}`, { as })
    isProblem(t, answer, 409, 'policy-requires-authenticator')
  }
  const { stepToken } = (await login(user)).json()
  t.equal((await verify(stepToken, user.nextCode())).statusCode, 200, 'nothing has changed')
  await mailbox.mailTo(user.email, /on/)
  t.same(
    mailbox.all.filter(({ to, subject }) => to === user.email && /off/.test(subject)),
    []
  )
})

t.test('what an admin requires of a user stays on until an admin withdraws it', async (t) => {
  const account = await createAccount()
  const admin = await enrolledUser({ account, role: 'admin' })
  const user = await createUser({ account, email: 'alan@example.com' })
  const asAdmin = { as: await admin.accessToken() }
  const path = `/v1/users/${user.id}/two-factor`
  const since = clock.now().toISOString()
  const required = await call('PUT', path, { ...asAdmin, body: { required: true } })
  t.match(required.json(), {
    twoFactor: { required: true, requirement: { by: 'admin', since }, reason: 'user_required' }
  })
  const told = await mailbox.mailTo('alan@example.com', /is required for you/)
  t.match(told.text, /An admin of your account requires you/)
  t.notMatch(told.text, '127.0.0.1', 'the mail does not show the address of the admin')

  const first = (await login(user)).json()
  t.match(first, { status: 'enrollment_required', reason: 'user_required' })
  const setUp = (await enroll(first.stepToken)).json()
  const code = codeAt(setUp.setupKey, clock.now())
  const on = (await confirm(first.stepToken, setUp.authenticatorId, code)).json()
  t.match((await login(user)).json(), { status: 'verification_required', reason: 'user_required' })

  const own = { as: on.accessToken }
  for (const [method, rest, body] of [
    ['DELETE', 'two-factor', undefined],
    ['DELETE', `authenticators/${setUp.authenticatorId}`, undefined],
    ['PUT', 'two-factor', { required: false }]
  ] as const) {
    const answer = await call(method, `/v1/users/me/${rest}`, { ...own, ...(body && { body }) })
    isProblem(t, answer, 409, 'policy-requires-authenticator')
  }

  const withdrawn = await call('PUT', path, { ...asAdmin, body: { required: false } })
  t.match(withdrawn.json(), { twoFactor: { state: 'enabled', required: false, requirement: null } })
  await mailbox.mailTo('alan@example.com', /requirement was withdrawn/)
  t.equal((await call('DELETE', '/v1/users/me/two-factor', own)).statusCode, 204)
  t.match((await login(user)).json(), { status: 'authenticated', reason: 'not_required' })
})

t.test('users require two-factor of themselves, and withdraw it themselves', async (t) => {
  const user = await createUser({ email: 'edsger@example.com' })
  const path = '/v1/users/me/two-factor'
  const first = { as: (await login(user)).json().accessToken }
  const required = await call('PUT', path, { ...first, body: { required: true } })
  t.match(required.json(), { twoFactor: { required: true, requirement: { by: 'self' } } })
  const told = await mailbox.mailTo(user.email, /is required for you/)
  t.match(told.text, '127.0.0.1', 'the mail names the address of the user')

  const asked = (await login(user)).json()
  t.match(asked, { status: 'enrollment_required', reason: 'user_required' })
  const setUp = (await enroll(asked.stepToken)).json()
  const code = codeAt(setUp.setupKey, clock.now())
  const on = {
    as: (await confirm(asked.stepToken, setUp.authenticatorId, code)).json().accessToken
  }
  const last = await call('DELETE', `/v1/users/me/authenticators/${setUp.authenticatorId}`, on)
  isProblem(t, last, 409, 'policy-requires-authenticator')

  t.equal((await call('DELETE', path, on)).statusCode, 204, 'turning it off withdraws it')
  await mailbox.mailTo(user.email, /is off/)
  t.match((await login(user)).json(), { status: 'authenticated', reason: 'not_required' })
})
