// Reads events as text and bytes. A row that the service did not write can then be read too, whatever it contains.
import type { ChainLink } from '../../core/audit/chain.ts'
import type { SignedCheckpoint } from '../../core/audit/checkpoints.ts'
import type { StoredAuditEvent } from '../../core/audit/events.ts'
import { Prisma } from '../../generated/prisma/client.ts'

/** The key of an event. Rows that refer to events contain it too. */
export interface EventKey {
  accountId: string
  /** When the event occurred, in PostgreSQL's text format, which it reads back unchanged. */
  instant: string
  /** The same instant in the format of `toISOString`; null for infinity, and for years of more than four digits. */
  occurredAt: string | null
  id: string
}

export interface EventRow
  extends EventKey,
    Omit<StoredAuditEvent, keyof EventKey | 'actor' | 'target'> {
  actorKind: string
  actorId: string | null
  credential: string | null
  targetKind: string | null
  targetId: string | null
}

/** A key that was joined to its event. The event may be missing. */
export type JoinedEventRow = EventRow | (EventKey & { mac: null })

/** Returns the columns of an `EventRow`. The event is the table `e`; its key is read from the table `keys`. */
export function eventColumns(keys: 'e' | 'k'): Prisma.Sql {
  const k = Prisma.raw(keys)
  return Prisma.sql`
    ${k}."accountId"::text AS "accountId", ${k}."occurredAt"::text AS instant, ${k}.id::text AS id,
    CASE WHEN ${k}."occurredAt" >= '0001-01-01T00:00:00Z' AND ${k}."occurredAt" < '10000-01-01T00:00:00Z'
      THEN to_char(${k}."occurredAt" AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')
    END AS "occurredAt",
    e.type, e.outcome::text AS outcome, e."actorKind", e."actorId", e.credential, e."targetKind",
    e."targetId", e."userId"::text AS "userId", e.reason, e.ticket, e.address,
    e."requestId"::text AS "requestId", e.details::text AS details, e.mac`
}

/** The condition that joins keys `k` to their events `e`. */
export const isEventOfKey = Prisma.sql`
  (e."accountId", e."occurredAt", e.id) = (k."accountId", k."occurredAt", k.id)`

/** Builds an event from its row. */
export function asStoredEvent(row: EventRow): StoredAuditEvent {
  const { actorKind: kind, actorId: id, credential, targetKind, targetId } = row
  const hasTarget = targetKind !== null || targetId !== null
  return {
    accountId: row.accountId,
    id: row.id,
    occurredAt: row.occurredAt,
    type: row.type,
    outcome: row.outcome,
    actor: { kind, id, credential },
    target: hasTarget ? { kind: targetKind, id: targetId } : null,
    userId: row.userId,
    reason: row.reason,
    ticket: row.ticket,
    address: row.address,
    requestId: row.requestId,
    details: row.details,
    mac: row.mac
  }
}

type LinkRow = JoinedEventRow & { sequence: bigint; hash: Uint8Array }

/** Returns the links after a sequence, in their order, each with its event. */
export async function readLinks(
  transaction: Prisma.TransactionClient,
  after: bigint,
  limit: number
): Promise<ChainLink[]> {
  const rows = await transaction.$queryRaw<LinkRow[]>`
    SELECT ${eventColumns('k')}, k.sequence, k.hash
    FROM (
      SELECT sequence, "accountId", "occurredAt", "eventId" AS id, hash FROM "AuditSeal"
      WHERE sequence > ${after} ORDER BY sequence LIMIT ${limit}
    ) AS k
    LEFT JOIN "AuditEvent" AS e ON ${isEventOfKey}
    ORDER BY k.sequence`
  return rows.map(asLink)
}

/** Returns the checkpoint of the audit trail; null if nothing was removed. */
export async function readCheckpoint(
  transaction: Prisma.TransactionClient
): Promise<SignedCheckpoint | null> {
  return transaction.auditCheckpoint.findUnique({ where: { id: 1 }, omit: { id: true } })
}

function asLink(row: LinkRow): ChainLink {
  const { sequence, hash, accountId, occurredAt, id } = row
  const event = row.mac === null ? null : asStoredEvent(row)
  return { sequence, hash, accountId, occurredAt, eventId: id, event }
}
