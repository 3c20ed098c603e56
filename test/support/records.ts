import type { NoticeKind } from '../../src/core/mail/notices.ts'
import type { TestApp } from './app.ts'

/** An environment for tests that read the outbox: every mail waits there, because no mail server listens. */
export const MAIL_WAITS = { SMTP_URL: 'smtp://127.0.0.1:1' }

/** Returns the audit events about a user, the newest last, in the form that tests compare. */
export async function eventsAbout({ database: { prisma } }: TestApp, userId: string) {
  const rows = await prisma.auditEvent.findMany({ where: { userId }, orderBy: { id: 'asc' } })
  return rows.map(({ type, outcome, reason, actorKind, actorId, credential, ticket, details }) => ({
    type,
    outcome,
    reason,
    ticket,
    actor: { kind: actorKind, id: actorId, credential },
    details
  }))
}

/** Returns acts as short texts: `user.reset succeeded`, `user.reset refused: limited-access`. */
export async function actsOn(service: TestApp, userId: string, type?: string): Promise<string[]> {
  const events = await eventsAbout(service, userId)
  return events
    .filter((event) => type === undefined || event.type === type)
    .map(({ type, outcome, reason }) =>
      outcome === 'refused' ? `${type} refused: ${reason}` : `${type} ${outcome}`
    )
}

/** Returns the waiting mails to a recipient, of some kinds or of all, with their details and the client's address. */
export async function mailsTo(
  { database: { prisma } }: TestApp,
  recipient: string,
  ...kinds: NoticeKind[]
) {
  const rows = await prisma.outboxMail.findMany({
    where: { recipient, ...(kinds.length > 0 && { kind: { in: kinds } }) },
    orderBy: [{ occurredAt: 'asc' }, { kind: 'asc' }]
  })
  return rows.map(({ kind, details, address }) => ({ kind, details, address }))
}
