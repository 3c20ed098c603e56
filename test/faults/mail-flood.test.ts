// An account whose back end changes one user to and fro floods neither the mailbox nor the queue of other accounts.
import t from 'tap'
import { startApp } from '../support/app.ts'
import { openMailbox } from '../support/mailbox.ts'

t.test('a mail of another account arrives during a flood, and the flood is limited', async (t) => {
  const mailbox = await openMailbox(t)
  const env = { SMTP_URL: mailbox.url, MAIL_PER_RECIPIENT_PER_HOUR: '5' }
  const service = await startApp(t, { env })
  const { call, createAccount, createApiKey, createUser, database, enrolledUser } = service
  const noisy = await createAccount()
  const key = await createApiKey(noisy, 'users:write')
  const user = await createUser({ account: noisy })
  const addresses = [user.email, `other-${user.email}`]
  for (let index = 1; index <= 300; index++) {
    const email = addresses[index % 2]
    const { statusCode } = await call('PATCH', `/v1/users/${user.id}`, { as: key, body: { email } })
    if (statusCode !== 200) t.fail(`unexpected status ${statusCode}`)
  }
  const quiet = await enrolledUser({ account: await createAccount() })
  const reset = await call('POST', `/v1/users/${quiet.id}/reset`, { as: quiet.account.apiKey })
  t.equal(reset.statusCode, 200)
  await mailbox.mailTo(quiet.email, /was reset/)
  const rest = () => database.prisma.outboxMail.count({ where: { held: false } })
  while ((await rest()) > 0) await new Promise((resolve) => setTimeout(resolve, 100))
  for (const address of addresses) {
    t.equal(mailbox.all.filter(({ to }) => to === address).length, 5)
  }
  const held = await database.prisma.outboxMail.findMany({ where: { held: true } })
  t.same(
    held.map(({ repeats }) => repeats),
    [294, 294],
    'the newest mail to each address waits, and stands for the others'
  )
})
