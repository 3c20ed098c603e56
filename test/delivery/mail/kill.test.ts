// S24 for mails: `kill -9` of a process that is sending loses no mail. The test runs the built service on the machine's
// clock. It runs only on a database server: the outbox is the same on both engines, and reading an embedded database
// would take another start.
import t from 'tap'
import { v7 as uuidv7 } from 'uuid'
import { ON_SERVER } from '../../support/app.ts'
import { openTestDatabase } from '../../support/database.ts'
import { openMailbox } from '../../support/mailbox.ts'
import { noticeOf, putIntoOutbox } from '../../support/notices.ts'
import { startServer } from '../../support/server.ts'

/** More than one batch. */
const MAILS = 45
/** As many as one process sends at the same time. */
const CONCURRENT = 5

t.test(
  'kill -9 while sending: each mail arrives, and a copy has the same Message-ID',
  ON_SERVER,
  async (t) => {
    const database = await openTestDatabase(t)
    const { outboxMail, account } = database.prisma
    const mailbox = await openMailbox(t)
    const start = () => startServer(t, { DATABASE_URL: database.url, SMTP_URL: mailbox.url })
    const [accountId, occurredAt] = [uuidv7(), new Date()]
    const acme = { id: accountId, slug: 'acme', name: 'Acme', audience: 'urn:acme' }
    await account.create({ data: { ...acme, createdAt: occurredAt } })
    const recipients = Array.from({ length: MAILS }, (_, index) => `user${index}@example.com`)
    const notices = recipients.map((recipient) =>
      noticeOf('password_changed', { accountId, occurredAt, recipient })
    )
    await putIntoOutbox(database, notices)
    const mails = await outboxMail.findMany({ select: { id: true, recipient: true } })

    mailbox.slowBy(200)
    const killed = await start()
    // Some have arrived, and the server has read at least one more without acknowledging it.
    await mailbox.arrived(6)
    await mailbox.read(mailbox.all.length + 1)
    await killed.kill()
    const left = await outboxMail.count()
    t.ok(left > 0 && left < MAILS, `${left} of ${MAILS} are left`)
    // The killed process holds their leases, which would end in a minute.
    await outboxMail.updateMany({ data: { dueAt: new Date() } })
    mailbox.slowBy(0)
    const second = await start()
    const distinct = () => new Set(mailbox.all.map(({ messageId, to }) => `${messageId} ${to}`))
    while (distinct().size < MAILS) await mailbox.arrived(mailbox.all.length + 1)
    t.equal(await second.stop(), 0)

    const expected = mails.map(({ id, recipient }) => `<${id}@auth.twostep.test> ${recipient}`)
    t.same([...distinct()].sort(), expected.sort())
    const copies = mailbox.all.length - MAILS
    t.ok(copies >= 1 && copies <= CONCURRENT, `${copies} mails that were being sent arrived twice`)
    t.equal(await outboxMail.count(), 0)
  }
)
