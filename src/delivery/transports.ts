import type { FastifyBaseLogger } from 'fastify'
import type { MailSettings } from '../mail-settings.ts'
import { createFileTransport } from './file-transport.ts'
import type { MailTransport } from './messages.ts'
import { createSmtpTransport } from './smtp-transport.ts'

/** The way out that the settings name. Null: there is nowhere to send mails to. */
export function openTransport(
  { server, folder }: MailSettings,
  log: FastifyBaseLogger
): MailTransport | null {
  if (server) return createSmtpTransport(server)
  if (folder !== null) {
    log.info({ folder }, 'SMTP_URL is not set: mails become .eml files')
    return createFileTransport(folder)
  }
  log.warn(
    'SMTP_URL is not set: nobody is told anything by mail. What is to be told waits for a start with SMTP_URL, and is given up after five days'
  )
  return null
}
