import type { FastifyBaseLogger } from 'fastify'
import type { MailSettings } from '../../settings/mail.ts'
import type { MailTransport } from './messages.ts'

/** The way out that the settings name. Null: there is nowhere to send mails to. */
export async function openTransport(
  { server, folder }: MailSettings,
  log: FastifyBaseLogger
): Promise<MailTransport | null> {
  // What writes mails is loaded where mails are written.
  if (server) {
    const { createSmtpTransport } = await import('./smtp-transport.ts')
    return createSmtpTransport(server)
  }
  if (folder !== null) {
    log.info({ folder }, 'SMTP_URL is not set: mails become .eml files')
    const { createFileTransport } = await import('./file-transport.ts')
    return createFileTransport(folder)
  }
  log.warn(
    'SMTP_URL is not set: nobody is told anything by mail. What is to be told waits for a start with SMTP_URL, and is given up after five days'
  )
  return null
}
