// The way out for mails, from the settings to a delivery that can be stopped and closed.
import type { FastifyBaseLogger } from 'fastify'
import type { Support } from '../../core/support.ts'
import type { Outbox } from '../../data/trail/outbox.ts'
import type { MailSettings } from '../../settings/mail.ts'
import { createMailDelivery, type MailDelivery } from './delivery.ts'
import { openTransport } from './transports.ts'

export interface OutgoingMail extends MailDelivery {
  /** Closes the connections to the mail server. */
  close(): void
}

export interface OutgoingMailOptions {
  settings: MailSettings
  outbox: Outbox
  /** The contact of accounts without their own. */
  support: Support | null
  now: () => Date
  log: FastifyBaseLogger
}

/** Opens the transport that the settings name. Null if they name none. */
export async function openOutgoingMail({
  settings,
  outbox,
  support,
  now,
  log
}: OutgoingMailOptions): Promise<OutgoingMail | null> {
  const { from, domain: messageIdDomain } = settings
  const transport = await openTransport(settings, log)
  if (!transport) return null
  const delivery = createMailDelivery({
    outbox,
    transport,
    from,
    support,
    messageIdDomain,
    now,
    log
  })
  return { ...delivery, close: () => transport.close() }
}
