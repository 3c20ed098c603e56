// B10: the operator can mandate two-factor from a date on. The date is announced, and users may sign in without two-factor
// until then. Afterwards the account cannot turn two-factor off, and SSO sign-ins stay exempt.
import { decodeJwt } from 'jose'
import t from 'tap'
import { OPERATOR_KEY, startApp } from '../support/app.ts'
import { openMailbox } from '../support/mailbox.ts'
import { isProblem } from '../support/problems.ts'

const mailbox = await openMailbox(t)
const service = await startApp(t, { listen: true, env: { SMTP_URL: mailbox.url } })
const { call, changePolicy, clock, codeAt, confirm, createAccount, createUser, enroll } = service
const { enrolledUser, login, verify } = service

const DAY_MINUTES = 24 * 60
const inDays = (days: number) =>
  new Date(clock.now().getTime() + days * DAY_MINUTES * 60_000).toISOString()
const mandate = (id: string, body: object) =>
  call('PUT', `/v1/accounts/${id}/mandate`, { as: OPERATOR_KEY, body })

t.test(
  'users are notified of a mandate, which applies on its date until it is lifted',
  async (t) => {
    const account = await createAccount()
    const ada = await createUser({ account, email: 'ada@example.com' })
    const grace = await enrolledUser({ account, email: 'grace@example.com' })
    const requiredFrom = inDays(14)
    const reason = 'Insurance terms of 2026'
    t.match((await mandate(account.id, { requiredFrom, reason })).json(), { locked: false })
    const notice = await mailbox.mailTo('ada@example.com')
    t.match(notice.text, /19 January 2026/)
    await mailbox.mailTo('grace@example.com', /is on/)

    const before = (await login(ada)).json()
    t.match(before, {
      status: 'authenticated',
      reason: 'grace_period',
      enrollment: { recommended: true, requiredFrom }
    })
    t.match(decodeJwt(before.accessToken), { amr: ['pwd'], acr: 'urn:twostep:acr:1' })
    t.match((await login(grace)).json(), {
      status: 'verification_required',
      reason: 'user_enabled'
    })
    await changePolicy(account, { twoFactor: 'optional' })

    clock.advance({ minutes: 14 * DAY_MINUTES })
    t.match((await login(grace)).json(), { status: 'verification_required', reason: 'mandated' })
    const after = (await login(ada)).json()
    t.match(after, { status: 'enrollment_required', reason: 'mandated' })
    const headers = { 'if-match': '*' }
    for (const body of [{ twoFactor: 'optional' }, { twoFactor: 'required' }, { graceDays: 30 }]) {
      const answer = await call('PATCH', '/v1/policy', { as: account.apiKey, body, headers })
      t.match(isProblem(t, answer, 403, 'policy-locked'), { mandate: { requiredFrom, reason } })
    }
    const graceToken = await grace.accessToken()
    const off = await call('DELETE', '/v1/users/me/two-factor', { as: graceToken })
    isProblem(t, off, 409, 'policy-requires-authenticator')

    const setUp = (await enroll(after.stepToken)).json()
    const code = codeAt(setUp.setupKey, clock.now())
    t.equal((await confirm(after.stepToken, setUp.authenticatorId, code)).statusCode, 200)
    const explained = await call('GET', `/v1/users/${ada.id}/policy`, { as: account.apiKey })
    t.match(explained.json(), {
      reason: 'mandated',
      required: true,
      mandate: { locked: true, reason }
    })

    t.match((await mandate(account.id, { requiredFrom: null })).json(), { locked: false })
    t.equal(
      (await call('DELETE', '/v1/users/me/two-factor', { as: graceToken })).statusCode,
      204,
      'users may turn two-factor off again'
    )
  }
)

t.test('a mandate with a past date applies immediately, also during a sign-in', async (t) => {
  const account = await createAccount()
  const user = await enrolledUser({ account })
  const { stepToken } = (await login(user)).json()
  t.match((await mandate(account.id, { requiredFrom: inDays(-1) })).json(), { locked: true })
  const signIn = (await verify(stepToken, user.nextCode())).json()
  t.match(signIn, { status: 'authenticated' }, 'the code fulfils the mandate')
  const off = await call('DELETE', '/v1/users/me/two-factor', { as: signIn.accessToken })
  isProblem(t, off, 409, 'policy-requires-authenticator')
})
