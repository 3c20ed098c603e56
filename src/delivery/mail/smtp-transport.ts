import { isIP } from 'node:net'
import { createTransport } from 'nodemailer'
import type { MailServer } from '../../settings/mail.ts'
import { asSendMailOptions, type MailTransport } from './messages.ts'

/** Connections at once; a mail server counts them, and few are enough for notices. */
const CONNECTIONS_MAX = 5
const CONNECT_TIMEOUT_MS = 10_000
const GREETING_TIMEOUT_MS = 10_000
/** Of silence. RFC 5321 §4.5.3.2 allows minutes, which suits a queue of its own; ours tries again. */
const SOCKET_TIMEOUT_MS = 20_000

/** Hands mails to an SMTP server, over connections that are kept while there is something to send. */
export function createSmtpTransport({ host, port, isSecure, login }: MailServer): MailTransport {
  const mailer = createTransport({
    pool: true,
    maxConnections: CONNECTIONS_MAX,
    ...{ host, port, secure: isSecure },
    // A password goes over TLS or not at all: whoever strips the offer of STARTTLS would read it. To this machine
    // itself there is nobody in between.
    requireTLS: login !== null && !isThisMachine(host),
    ...(login && { auth: { user: login.user, pass: login.password } }),
    connectionTimeout: CONNECT_TIMEOUT_MS,
    greetingTimeout: GREETING_TIMEOUT_MS,
    dnsTimeout: CONNECT_TIMEOUT_MS,
    socketTimeout: SOCKET_TIMEOUT_MS
  })
  // Trouble of a connection that carries a mail is that mail's error; of any other it is nobody's.
  mailer.on('error', () => {})
  return {
    async send(message, giveUp) {
      await mailer.sendMail({ ...asSendMailOptions(message), signal: giveUp })
    },
    close: () => mailer.close({ force: true })
  }
}

function isThisMachine(host: string): boolean {
  return host === 'localhost' || host === '::1' || (isIP(host) === 4 && host.startsWith('127.'))
}
