import { once } from 'node:events'
import { isIP } from 'node:net'
import { createTransport } from 'nodemailer'
import SMTPConnection from 'nodemailer/lib/smtp-connection'
import { needsSmtpUtf8 } from '../../core/input/email-addresses.ts'
import type { MailServer } from '../../settings/mail.ts'
import { asSendMailOptions, type MailTransport, type Message } from './messages.ts'

/** Mail servers limit connections, and a few are enough for notices. */
const CONNECTIONS_MAX = 5
const CONNECT_TIMEOUT_MS = 10_000
const GREETING_TIMEOUT_MS = 10_000
/** Silence of the server. RFC 5321 §4.5.3.2 allows minutes, but the outbox tries again sooner than that. */
const SOCKET_TIMEOUT_MS = 20_000

/** Sends mails to an SMTP server over pooled connections. */
export function createSmtpTransport({ host, port, isSecure, login }: MailServer): MailTransport {
  const options = {
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
  }
  const mailer = createTransport({ ...options, pool: true, maxConnections: CONNECTIONS_MAX })
  // The error of a connection that sends a mail rejects that mail's promise. An idle connection's error needs no action.
  mailer.on('error', () => {})
  return {
    async send(message, giveUp) {
      const inUtf8 = commandInUtf8(message)
      if (inUtf8 && !(await hasSmtpUtf8(options, giveUp))) throw notInUtf8(inUtf8)
      await mailer.sendMail({ ...asSendMailOptions(message), signal: giveUp })
    },
    close: () => mailer.close({ force: true })
  }
}

/** Returns the command whose address needs SMTPUTF8; null if neither does. */
function commandInUtf8({ recipient, from }: Message): 'RCPT TO' | 'MAIL FROM' | null {
  if (needsSmtpUtf8(recipient)) return 'RCPT TO'
  return needsSmtpUtf8(from.address) ? 'MAIL FROM' : null
}

/**
 * Asks the mail server whether it supports SMTPUTF8, on a connection of its own. RFC 6531 §3.2 forbids sending such an
 * address to a server that does not: some of them change it, and the mail would go to another mailbox.
 */
async function hasSmtpUtf8(
  options: ConstructorParameters<typeof SMTPConnection>[0],
  giveUp: AbortSignal
): Promise<boolean> {
  const connection = new SMTPConnection(options)
  try {
    const connected = once(connection, 'connect', { signal: giveUp })
    connection.connect()
    await connected
    // The response to EHLO, after STARTTLS if the server offers it.
    return /[ -]SMTPUTF8\b/i.test(String(connection.lastServerResponse))
  } finally {
    connection.on('error', () => {})
    connection.close()
  }
}

/** Returns the error of a server that itself refuses such an address (RFC 6531 §3.5). */
function notInUtf8(command: 'RCPT TO' | 'MAIL FROM'): Error {
  const response = '550 5.6.7 the mail server does not support SMTPUTF8 (RFC 6531)'
  const details = { code: 'EENVELOPE', command, responseCode: 550, response }
  return Object.assign(new Error(response), details)
}

function isThisMachine(host: string): boolean {
  return host === 'localhost' || host === '::1' || (isIP(host) === 4 && host.startsWith('127.'))
}
