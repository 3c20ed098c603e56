// B11: no admin of an account can sign in. The operator's support resets a user with a ticket number, and every admin of
// the account receives an e-mail. A stored key is never shown or mailed again; the user sets up two-factor again.
import t from 'tap'
import { OPERATOR_KEY, startApp } from '../support/app.ts'
import { openMailbox } from '../support/mailbox.ts'
import { isProblem } from '../support/problems.ts'

const mailbox = await openMailbox(t)
const service = await startApp(t, { listen: true, env: { SMTP_URL: mailbox.url } })
const { call, clock, codeAt, confirm, createAccount, createUser, enroll } = service
const { enrolledUser, login } = service

t.test('support resets the only admins, who have lost their phones', async (t) => {
  // Two-factor is optional in this account. A reset leads to a new set-up all the same.
  const account = await createAccount({ name: 'Initech' })
  const bill = await enrolledUser({ account, role: 'admin', email: 'bill@example.com' })
  await enrolledUser({ account, role: 'admin', email: 'dom@example.com' })
  await createUser({ account, email: 'milton@example.com' })
  for (const to of ['bill@example.com', 'dom@example.com']) await mailbox.mailTo(to, /is on/)

  const path = `/v1/users/${bill.id}/reset`
  const withoutTicket = await call('POST', path, { as: OPERATOR_KEY, body: { reason: 'Help' } })
  isProblem(t, withoutTicket, 400, 'invalid-request')
  const body = { ticket: 'SUP-20417', reason: 'Both phones stolen; called back' }
  const reset = await call('POST', path, { as: OPERATOR_KEY, body })
  t.match(reset.json(), { userId: bill.id, nextSignIn: 'enrollment_required' })
  t.same(Object.keys(reset.json()).sort(), ['email', 'nextSignIn', 'resetAt', 'userId'], 'no key')

  const toUser = await mailbox.mailTo('bill@example.com', /has reset/)
  const toAdmin = await mailbox.mailTo('dom@example.com', /has reset/)
  t.match(toAdmin.text, 'bill@example.com')
  for (const { text, html } of [toUser, toAdmin]) {
    for (const said of [text, html]) {
      t.match(said, 'SUP-20417')
      t.match(said, 'Initech')
      t.notMatch(said, bill.secret.replaceAll(' ', ''))
      t.notMatch(said, bill.secret)
    }
  }

  const { status, reason, stepToken } = (await login(bill)).json()
  t.same([status, reason], ['enrollment_required', 'reset_pending'])
  const setUp = (await enroll(stepToken)).json()
  t.not(setUp.setupKey, bill.secret, 'a new key')
  const code = codeAt(setUp.setupKey, clock.now())
  t.equal((await confirm(stepToken, setUp.authenticatorId, code)).statusCode, 200)
  await mailbox.mailTo('bill@example.com', /is on/)
  t.same(
    mailbox.all.filter(({ to }) => to === 'milton@example.com'),
    [],
    'members receive no mail'
  )

  const trail = await call('GET', `/v1/audit-events?userId=${bill.id}&type=user.reset`, {
    as: account.apiKey
  })
  t.match(trail.json().items, [
    {
      outcome: 'succeeded',
      actor: { kind: 'operator', id: 'operator0001', credential: 'operator_key' },
      ticket: 'SUP-20417',
      reason: 'Both phones stolen; called back'
    }
  ])
})

t.test('no route shows or mails a stored key again, not even to its user', async (t) => {
  const account = await createAccount()
  const user = await enrolledUser({ account })
  const admin = await enrolledUser({ account, role: 'admin' })
  const tokens = [await user.accessToken(), await admin.accessToken(), account.apiKey, OPERATOR_KEY]
  const paths = ['', '/authenticators', '/recovery-codes', '/devices'].flatMap((rest) => [
    `/v1/users/me${rest}`,
    `/v1/users/${user.id}${rest}`
  ])
  let answered = 0
  for (const as of tokens) {
    for (const path of [...paths, '/v1/users', '/v1/audit-events']) {
      const { statusCode, body } = await call('GET', path, { as })
      if (statusCode === 200) answered += 1
      t.notMatch(body, user.secret.replaceAll(' ', ''))
      for (const recoveryCode of user.recoveryCodes) t.notMatch(body, recoveryCode)
    }
  }
  t.ok(answered > 15, `${answered} responses that might contain it`)
  t.equal(
    (await mailbox.mailTo(user.email, /is on/)).text.includes(user.secret.replaceAll(' ', '')),
    false
  )
})
