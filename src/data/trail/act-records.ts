// What goes on record with an act: its event, and the mail that tells about it. Both are written by the act's own
// statement or transaction.
import type { SignedAuditEvent } from '../../core/audit/events.ts'
import type { Notice } from '../../core/mail/notices.ts'
import type { Prisma, PrismaClient } from '../../generated/prisma/client.ts'
import { filled, on, type Template, template } from '../engine/statements.ts'
import { eventInsert, insertEvent } from './audit-events.ts'
import { insertNotice, noticeInsert } from './outbox.ts'

export interface ActRecord {
  event: SignedAuditEvent
  notice: Notice | null
}

export type Transaction = Parameters<Parameters<PrismaClient['$transaction']>[0]>[0]

/** CTEs that write the record if the CTE `guardedBy` before them has a row; begins with a comma. */
export function recordedWith(guardedBy: string, record: ActRecord): Prisma.Sql {
  return filled(recording(guardedBy, { notice: record.notice !== null }), record)
}

/** The same for a statement that is prepared once, with a notice or without. */
export function recording(guardedBy: string, has: { notice: boolean }): Template<ActRecord> {
  const event = on(({ event }: ActRecord) => event, eventInsert(guardedBy))
  if (!has.notice) return template`, recorded AS (${event})`
  const notice = on(({ notice }: ActRecord) => notice, noticeInsert(guardedBy))
  return template`, recorded AS (${event}), told AS (${notice})`
}

/** Writes records in the transaction of their acts. */
export async function writeRecord(
  transaction: Transaction,
  event: SignedAuditEvent,
  notices: readonly Notice[] = []
): Promise<void> {
  await transaction.$executeRaw(insertEvent(event))
  for (const notice of notices) await transaction.$executeRaw(insertNotice(notice))
}
