// Notices to every admin of an account, about acts that concern the whole account.
import type { SignedAuditEvent } from '../../core/audit/events.ts'
import type { Actor, NoticeDetails } from '../../core/mail/notices.ts'
import { Prisma } from '../../generated/prisma/client.ts'
import type { Transaction } from './act-records.ts'
import { insertNoticeToEach } from './outbox.ts'

/** The kinds of notices that name the actor. */
type AdminNoticeKind = {
  [Kind in keyof NoticeDetails]: NoticeDetails[Kind] extends Actor ? Kind : never
}[keyof NoticeDetails]

/**
 * Notifies every admin of the event's account, also the admin who acts: another person may use that admin's
 * credential. `except` is a user who gets a notice of their own.
 */
export async function notifyAdmins<Kind extends AdminNoticeKind>(
  transaction: Transaction,
  event: SignedAuditEvent,
  kind: Kind,
  details: Omit<NoticeDetails[Kind], keyof Actor>,
  except: string | null = null
): Promise<void> {
  const { accountId } = event
  const who = Prisma.sql`u.role = 'admin' AND u.id IS DISTINCT FROM ${except}::uuid`
  const withActor = { ...details, ...(await actorOf(transaction, event)) }
  // The types of this function's parameters ensure that kind and details match.
  const complete = withActor as unknown as NoticeDetails[Kind]
  await transaction.$executeRaw(insertNoticeToEach({ accountId, who }, event, kind, complete))
}

async function actorOf(
  transaction: Transaction,
  { accountId, actor: { kind, id } }: SignedAuditEvent
): Promise<Actor> {
  if (kind === 'operator') return { by: 'operator', actor: null }
  if (kind === 'api_key' || id === null) return { by: 'api_key', actor: id }
  const key = { accountId_id: { accountId, id } }
  const user = await transaction.user.findUnique({ where: key, select: { email: true } })
  return { by: 'admin', actor: user?.email ?? null }
}
