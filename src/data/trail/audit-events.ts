// The append-only audit events. The event of an act is written in the same statement or transaction as the act. So there is
// no act without an event, and no event of an act that was rolled back.
import type { AuditType, SignedAuditEvent, StoredAuditEvent } from '../../core/audit/events.ts'
import {
  instantPlaceOf,
  type Page,
  type PageRequest,
  pageOf,
  readInstantPlace
} from '../../core/lists/pages.ts'
import { Prisma } from '../../generated/prisma/client.ts'
import {
  type Clients,
  filled,
  prepare,
  raw,
  type Template,
  template
} from '../engine/statements.ts'
import { heldAccount } from './acting-keys.ts'
import { asStoredEvent, type EventRow, eventColumns } from './audit-rows.ts'

export interface AuditFilter {
  type?: AuditType
  /** Only events about this user or caused by this user. */
  userId?: string
  /** Only events at or after this instant. */
  since?: Date
}

export type AuditEvents = ReturnType<typeof createAuditEvents>

export function createAuditEvents({ prisma, query }: Clients) {
  return {
    /** Writes the event of an act that changes nothing else: a refusal, or a success without a change. */
    async record(event: SignedAuditEvent): Promise<void> {
      await query(recorded, event)
    },

    /** Writes many such events in one statement. */
    recordAll: (events: readonly SignedAuditEvent[]): Promise<void> => writeEvents(prisma, events),

    /** Returns a page of an account's events, newest first. */
    async list(
      accountId: string,
      { userId, ...filter }: AuditFilter,
      { limit, after }: PageRequest
    ): Promise<Page<StoredAuditEvent>> {
      const found = (ofWhom = Prisma.empty) =>
        eventsOf(accountId, filter, ofWhom, { limit: limit + 1, after })
      // Each half follows its own index. A single condition with OR would read the account's whole audit trail.
      const events =
        userId === undefined
          ? found()
          : Prisma.sql`
              (${found(Prisma.sql`AND "userId" = ${userId}::uuid`)})
              UNION ALL (${found(Prisma.sql`AND "actorId" = ${userId}`)})`
      const [, rows] = await prisma.$transaction([
        // Planned for these values. A generic plan would read all events of a busy user to find a rare type.
        prisma.$executeRaw`SET LOCAL plan_cache_mode = force_custom_plan`,
        prisma.$queryRaw<EventRow[]>`
          SELECT DISTINCT ON (e."occurredAt", e.id) ${eventColumns('e')} FROM (${events}) AS e
          ORDER BY e."occurredAt" DESC, e.id DESC LIMIT ${limit + 1}`
      ])
      return pageOf(rows.map(asStoredEvent), limit, placeOf)
    }
  }
}

/**
 * Returns the insert of an event. With the name of a CTE of the same statement, it inserts one event for each row of
 * the CTE, and so none if the act's guard failed.
 */
export function insertEvent(event: SignedAuditEvent, guardedBy?: string): Prisma.Sql {
  return filled(eventInsert(guardedBy), event)
}

const EVENT_COLUMN_NAMES = [
  ...['"accountId"', '"occurredAt"', 'id', 'type', 'outcome', '"actorKind"', '"actorId"'],
  ...['credential', '"targetKind"', '"targetId"', '"userId"', 'reason', 'ticket', 'address'],
  ...['"requestId"', 'details', 'mac']
]
const EVENT_COLUMNS = raw(EVENT_COLUMN_NAMES.join(', '))

/** Returns the same insert for a statement that is prepared once. */
export function eventInsert(guardedBy?: string): Template<SignedAuditEvent> {
  const from = guardedBy === undefined ? '' : `FROM "${guardedBy}"`
  return template<SignedAuditEvent>`
    INSERT INTO "AuditEvent" (${EVENT_COLUMNS})
    SELECT ${heldAccount}, ${(event) => event.occurredAt}::timestamptz,
      ${(event) => event.id}::uuid, ${(event) => event.type}, ${(event) => event.outcome}::"AuditOutcome",
      ${(event) => event.actor.kind}, ${(event) => event.actor.id}, ${(event) => event.actor.credential},
      ${(event) => event.target?.kind ?? null}, ${(event) => event.target?.id ?? null},
      ${(event) => event.userId}::uuid, ${(event) => event.reason}, ${(event) => event.ticket},
      ${(event) => event.address}, ${(event) => event.requestId}::uuid,
      ${(event) => event.details && JSON.stringify(event.details)}::json, ${(event) => event.mac}
    ${raw(from)}`
}

/** Returns the insert of many events: of the column `event` of a CTE, in the form that `asEventRow` returns. */
export function eventInsertFrom(cte: string): Template<unknown> {
  const columns = raw(EVENT_COLUMN_NAMES.map((name) => `e.${name}`).join(', '))
  return template`
    INSERT INTO "AuditEvent" (${EVENT_COLUMNS})
    SELECT ${columns}
    FROM ${raw(cte)}, json_populate_record(NULL::"AuditEvent", ${raw(cte)}.event) AS e`
}

/** Returns an event by the names of its columns, in the form that `json_populate_record` reads. */
export function asEventRow({ actor, target, mac, ...event }: SignedAuditEvent) {
  return {
    ...event,
    actorKind: actor.kind,
    actorId: actor.id,
    credential: actor.credential,
    targetKind: target?.kind ?? null,
    targetId: target?.id ?? null,
    // The hex format of `bytea`.
    mac: `\\x${Buffer.from(mac).toString('hex')}`
  }
}

/** Writes many events in one statement. */
export async function writeEvents(
  transaction: Pick<Prisma.TransactionClient, '$executeRaw'>,
  events: readonly SignedAuditEvent[]
): Promise<void> {
  const rows = JSON.stringify(events.map((event) => ({ event: asEventRow(event) })))
  await transaction.$executeRaw`
    WITH written AS (SELECT * FROM json_to_recordset(${rows}::json) AS one (event json))
    ${filled(eventInsertFrom('written'), null)}`
}

const recorded = prepare(eventInsert())

/**
 * Selects one account's events, newest first. It follows the order of an index, so it reads only the requested rows.
 */
function eventsOf(
  accountId: string,
  { type, since }: Omit<AuditFilter, 'userId'>,
  ofWhom: Prisma.Sql,
  { limit, after }: PageRequest
): Prisma.Sql {
  const ofType = type === undefined ? Prisma.empty : Prisma.sql`AND type = ${type}`
  const notBefore = since ? Prisma.sql`AND "occurredAt" >= ${asInstant(since)}` : Prisma.empty
  const place = after === null ? null : readInstantPlace(after)
  const beyond = place
    ? Prisma.sql`AND ("occurredAt", id) < (${asInstant(place.at)}, ${place.id}::uuid)`
    : Prisma.empty
  return Prisma.sql`
    SELECT * FROM "AuditEvent"
    WHERE "accountId" = ${accountId}::uuid ${ofWhom} ${ofType} ${notBefore} ${beyond}
    ORDER BY "occurredAt" DESC, id DESC LIMIT ${limit}`
}

// Sent as a number, because cursors may contain any instant, and text has no year 0.
function asInstant(at: Date): Prisma.Sql {
  return Prisma.sql`to_timestamp(${at.getTime() / 1000}::float8)`
}

function placeOf({ occurredAt, id }: StoredAuditEvent): string {
  return instantPlaceOf({ at: new Date(occurredAt ?? Number.NaN), id })
}
