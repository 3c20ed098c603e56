import { isIP } from 'node:net'
import { createTransport } from 'nodemailer'
import type { MailServer } from '../../settings/mail.ts'
import { asSendMailOptions, type MailTransport } from './messages.ts'

/** Mail servers limit connections, and a few are enough for notices. */
const CONNECTIONS_MAX = 5
const CONNECT_TIMEOUT_MS = 10_000
const GREETING_TIMEOUT_MS = 10_000
/** Silence of the server. RFC 5321 §4.5.3.2 allows minutes, but the outbox tries again sooner than that. */
const SOCKET_TIMEOUT_MS = 20_000

/** Sends mails to an SMTP server over pooled connections. */
export function createSmtpTransport({ host, port, isSecure, login }: MailServer): MailTransport {
  const mailer = createTransport({
    pool: true,
    maxConnections: CONNECTIONS_MAX,
    host,
    port,
    secure: isSecure,
    // A password is sent only over TLS: an attacker who strips the offer of STARTTLS could otherwise read it. The loopback
    // interface does not leave this machine.
    requireTLS: login !== null && !isThisMachine(host),
    ...(login && { auth: { user: login.user, pass: login.password } }),
    connectionTimeout: CONNECT_TIMEOUT_MS,
    greetingTimeout: GREETING_TIMEOUT_MS,
    dnsTimeout: CONNECT_TIMEOUT_MS,
    socketTimeout: SOCKET_TIMEOUT_MS
  })
  // The error of a connection that sends a mail rejects that mail's promise. An idle connection's error needs no action.
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
