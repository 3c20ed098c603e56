// Mails that need SMTPUTF8 (RFC 6531), and what the error says about who is at fault.
import t from 'tap'
import { isAboutTheMail, isRefusedForGood } from '../../../src/core/mail/retries.ts'
import type { Message } from '../../../src/delivery/mail/messages.ts'
import { createSmtpTransport } from '../../../src/delivery/mail/smtp-transport.ts'
import { parseMailServer } from '../../../src/settings/mail.ts'
import { openMailbox } from '../../support/mailbox.ts'

const MESSAGE: Message = {
  ...{ id: 'm-1', kind: 'test', subject: 'S', text: 'T', html: '<p>T</p>' },
  from: { name: 'Acme', address: 'no-reply@acme.test' },
  recipient: 'ada@example.com',
  date: new Date(0),
  messageId: 'm-1@acme.test'
}
const GRUSS = { name: 'Acme', address: 'grüße@acme.test' }
const giveUp = AbortSignal.timeout(600_000)

function transportTo(url: string) {
  const server = parseMailServer(url)
  if (!server) throw new Error(`no mail server: ${url}`)
  const transport = createSmtpTransport(server)
  t.teardown(() => transport.close())
  return transport
}

t.test('a sender in another script is sent to a server with SMTPUTF8', async (t) => {
  const mailbox = await openMailbox(t)
  await transportTo(mailbox.url).send({ ...MESSAGE, from: GRUSS }, giveUp)
  t.match(mailbox.all[0]?.source, /^From: Acme <grüße@acme\.test>\r$/m)
})

t.test(
  'without SMTPUTF8, the sender is a fault of the service, so mails are retried',
  async (t) => {
    const { url, all } = await openMailbox(t, { hasSmtpUtf8: false })
    const refused = (message: Message) =>
      transportTo(url)
        .send(message, giveUp)
        .then(
          () => t.fail('the mail is sent'),
          (error) => error
        )
    const bySender = await refused({ ...MESSAGE, from: GRUSS })
    t.same([isAboutTheMail(bySender), isRefusedForGood(bySender)], [false, false])
    const byRecipient = await refused({ ...MESSAGE, recipient: 'jörg@example.com' })
    t.same([isAboutTheMail(byRecipient), isRefusedForGood(byRecipient)], [true, true])
    t.same(all, [])
  }
)

t.test('a server that is down is no server without SMTPUTF8', async (t) => {
  const mailbox = await openMailbox(t)
  await mailbox.stop()
  const sent = transportTo(mailbox.url).send({ ...MESSAGE, recipient: 'jörg@example.com' }, giveUp)
  await t.rejects(sent, { code: 'ESOCKET' })
})
