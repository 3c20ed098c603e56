// What goes on record with an act: its event, and the mail that tells about it. Both are written by the act's own
// statement or transaction.
import type { SignedAuditEvent } from '../core/audit.ts'
import type { Notice } from '../core/notices.ts'
import { Prisma, type PrismaClient } from '../generated/prisma/client.ts'
import { insertEvent } from './audit-events.ts'
import { insertNotice } from './outbox.ts'

export interface ActRecord {
  event: SignedAuditEvent
  notice: Notice | null
}

export type Transaction = Parameters<Parameters<PrismaClient['$transaction']>[0]>[0]

/** CTEs that write the record if the CTE `guardedBy` before them has a row; begins with a comma. */
export function recordedWith(guardedBy: string, { event, notice }: ActRecord): Prisma.Sql {
  const told = notice ? Prisma.sql`, told AS (${insertNotice(notice, guardedBy)})` : Prisma.empty
  return Prisma.sql`, recorded AS (${insertEvent(event, guardedBy)})${told}`
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
