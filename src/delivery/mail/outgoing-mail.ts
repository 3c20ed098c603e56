// The way out for mails, from the settings to a delivery that can be stopped and closed.
import type { FastifyBaseLogger } from 'fastify'
import type { MailLimits } from '../../core/mail/limits.ts'
import type { Support } from '../../core/support.ts'
import { deriveKey, type MasterKeys } from '../../crypto/sealing.ts'
import type { MailCounts } from '../../data/trail/mail-counts.ts'
import type { Outbox } from '../../data/trail/outbox.ts'
import type { MailSettings } from '../../settings/mail.ts'
import { createMailDelivery, type MailDelivery } from './delivery.ts'
import { createMailLimiting } from './limits.ts'
import { openTransport } from './transports.ts'

export interface OutgoingMail extends MailDelivery {
  /** Closes the connections to the mail server. */
  close(): void
}

export interface OutgoingMailOptions {
  settings: MailSettings
  outbox: Outbox
  mailCounts: MailCounts
  limits: MailLimits
  masterKeys: MasterKeys
  /** The contact of accounts without their own. */
  support: Support | null
  now: () => Date
  log: FastifyBaseLogger
}

/** Opens the transport that the settings name. Null if they name none. */
export async function openOutgoingMail({
  settings,
  outbox,
  mailCounts,
  limits,
  masterKeys,
  support,
  now,
  log
}: OutgoingMailOptions): Promise<OutgoingMail | null> {
  const { from, domain: messageIdDomain } = settings
  const transport = await openTransport(settings, log)
  if (!transport) return null
  // A new master key starts the counts of this hour again.
  const key = deriveKey(masterKeys[0], 'mail-counts')
  const delivery = createMailDelivery({
    outbox,
    limiting: createMailLimiting({ counts: mailCounts, key, limits, now }),
    perAccountPerHour: limits.perAccountPerHour,
    transport,
    from,
    support,
    messageIdDomain,
    now,
    log
  })
  return { ...delivery, close: () => transport.close() }
}
