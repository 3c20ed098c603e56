// The message that a transport sends: complete, to one recipient.
import type { SendMailOptions } from 'nodemailer'
import { isMailAddress } from '../../core/input/email-addresses.ts'
import type { Mailbox } from '../../settings/mail.ts'
import { type MailText, onOneLine } from './layout.ts'

export interface Message extends MailText {
  /** The id of the mail in the outbox. */
  id: string
  kind: string
  from: Mailbox
  recipient: string
  /** When the event happened. The same at every try, like the Message-ID. */
  date: Date
  /** Without angle brackets. */
  messageId: string
}

export interface MailTransport {
  /** Resolves when the receiver has accepted the message. Rejects if that is not certain. */
  send(message: Message, giveUp: AbortSignal): Promise<void>
  /** Closes the connections. */
  close(): void
}

/**
 * Returns the sender of an account's mails: with the name of the account, followed by the deployment's own name if it has
 * one. An account that no longer exists has no name. nodemailer quotes the name.
 */
export function senderFor(accountName: string, { name, address }: Mailbox): Mailbox {
  const named = onOneLine(accountName)
  return { address, name: [named, name].filter(Boolean).join(' via ') }
}

/** Returns a message in nodemailer's form. Throws for a recipient that is not one plain address. */
export function asSendMailOptions(message: Message): SendMailOptions {
  const { from, recipient, subject, text, html, date, messageId } = message
  // nodemailer reads "a@b, c@d" as two recipients, in envelopes and in headers.
  if (!isMailAddress(recipient)) throw new Error('the recipient is not one plain address')
  return {
    from: { ...from },
    to: { name: '', address: recipient },
    subject,
    text,
    html,
    date,
    messageId: `<${messageId}>`,
    headers: {
      // RFC 3834 §5: vacation notices and other automatic responders must not reply.
      'Auto-Submitted': 'auto-generated',
      // The same, for Exchange.
      'X-Auto-Response-Suppress': 'All'
    },
    xMailer: false,
    disableFileAccess: true,
    disableUrlAccess: true
  }
}
