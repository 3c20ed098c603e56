// The sender of a mail.
import t from 'tap'
import { senderFor } from '../../../src/delivery/mail/messages.ts'

t.test('the sender has the name of the account, on one line', async (t) => {
  const address = 'no-reply@acme.test'
  for (const [account, name, sender] of [
    ['Acme', '', 'Acme'],
    ['Acme', 'Example', 'Acme via Example'],
    ['', 'Example', 'Example'],
    ['', '', ''],
    ['Acme\r\nBcc: eve@example.com', '', 'Acme Bcc: eve@example.com'],
    ['\u202eemcA\u0000\u2028', 'Example', 'emcA via Example']
  ] as const) {
    t.same(senderFor(account, { name, address }), { name: sender, address })
  }
})
