// What a transport is handed: one message to one recipient, whole.
import type { SendMailOptions } from 'nodemailer'
import { isAddress, type Mailbox } from '../../settings/mail.ts'
import type { MailText } from './layout.ts'

export interface Message extends MailText {
  /** Of the mail in the outbox. */
  id: string
  kind: string
  from: Mailbox
  recipient: string
  /** When it was written, which is when it happened. The same at every try, as the Message-ID is. */
  date: Date
  /** Without its angle brackets. */
  messageId: string
}

export interface MailTransport {
  /** Resolves once somebody else is responsible for the message; rejects when it is not known that they are. */
  send(message: Message, giveUp: AbortSignal): Promise<void>
  /** Lets go of its connections. */
  close(): void
}

/** A message as nodemailer takes it. Throws for a recipient that is not one plain address. */
export function asSendMailOptions(message: Message): SendMailOptions {
  const { from, recipient, subject, text, html, date, messageId } = message
  // In envelopes as in headers, nodemailer reads "a@b, c@d" as two recipients.
  if (!isAddress(recipient)) throw new Error('the recipient is not one plain address')
  return {
    from: { ...from },
    to: { name: '', address: recipient },
    ...{ subject, text, html, date, messageId: `<${messageId}>` },
    headers: {
      // RFC 3834 §5: no vacation notice, and no other robot, answers.
      'Auto-Submitted': 'auto-generated',
      // The same, for Exchange.
      'X-Auto-Response-Suppress': 'All'
    },
    xMailer: false,
    disableFileAccess: true,
    disableUrlAccess: true
  }
}
