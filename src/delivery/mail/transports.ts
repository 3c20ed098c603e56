import type { FastifyBaseLogger } from 'fastify'
import type { MailSettings } from '../../settings/mail.ts'
import type { MailTransport } from './messages.ts'

/** Opens the transport that the settings name. Returns null if the settings name none. */
export async function openTransport(
  { server, folder }: MailSettings,
  log: FastifyBaseLogger
): Promise<MailTransport | null> {
  // nodemailer is loaded only in a process that sends mails.
  if (server) {
    const { createSmtpTransport } = await import('./smtp-transport.ts')
    return createSmtpTransport(server)
  }
  if (folder !== null) {
    log.info({ folder }, 'SMTP_URL not set: mails are written to .eml files')
    const { createFileTransport } = await import('./file-transport.ts')
    return createFileTransport(folder)
  }
  log.warn(
    'SMTP_URL not set: no mail is sent, notifications wait in the outbox and are discarded after five days'
  )
  return null
}
