// The records of an act: its audit event, and the mail that notifies the user. The statement or transaction of the act
// writes both.
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

/** Returns CTEs that write the event and the notice if the preceding CTE `guardedBy` has a row. Begins with a comma. */
export function recordedWith(guardedBy: string, record: ActRecord): Prisma.Sql {
  return filled(recording(guardedBy, { notice: record.notice !== null }), record)
}

/** Returns the same CTEs for a statement that is prepared once, with or without a notice. */
export function recording(guardedBy: string, has: { notice: boolean }): Template<ActRecord> {
  const event = on(({ event }: ActRecord) => event, eventInsert(guardedBy))
  if (!has.notice) return template`, recorded AS (${event})`
  const notice = on(({ notice }: ActRecord) => notice, noticeInsert(guardedBy))
  return template`, recorded AS (${event}), notified AS (${notice})`
}

/** Creates the writer of the records of a refusal. A refusal has no statement of its own that could write them. */
export function createActRecords(prisma: PrismaClient) {
  return {
    /** Writes the event and its notices together. */
    record(event: SignedAuditEvent, notices: readonly Notice[]): Promise<void> {
      return prisma.$transaction((transaction) => writeRecord(transaction, event, notices))
    }
  }
}

export type ActRecords = ReturnType<typeof createActRecords>

/** Writes the event and the notices of an act in its transaction. */
export async function writeRecord(
  transaction: Transaction,
  event: SignedAuditEvent,
  notices: readonly Notice[] = []
): Promise<void> {
  await transaction.$executeRaw(insertEvent(event))
  for (const notice of notices) await transaction.$executeRaw(insertNotice(notice))
}
