// The append-only record. An act's event is written by the statement or the transaction of the act itself: there is no
// act without its event, and no event of an act that was rolled back.
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
import { asStoredEvent, type EventRow, eventColumns } from './audit-rows.ts'

export interface AuditFilter {
  type?: AuditType
  /** About this user, or done by them. */
  userId?: string
  /** Not before this instant. */
  since?: Date
}

export type AuditEvents = ReturnType<typeof createAuditEvents>

export function createAuditEvents({ prisma, query }: Clients) {
  return {
    /** Writes an event that goes with no other write: a refusal, or a success that changes nothing. */
    async record(event: SignedAuditEvent): Promise<void> {
      await query(recorded, event)
    },

    /** An account's events, newest first. */
    async list(
      accountId: string,
      { userId, ...filter }: AuditFilter,
      { limit, after }: PageRequest
    ): Promise<Page<StoredAuditEvent>> {
      const found = (ofWhom = Prisma.empty) =>
        eventsOf(accountId, filter, ofWhom, { limit: limit + 1, after })
      // Each half in the order of an index of its own: one condition with OR would read the whole record.
      const events =
        userId === undefined
          ? found()
          : Prisma.sql`
              (${found(Prisma.sql`AND "userId" = ${userId}::uuid`)})
              UNION ALL (${found(Prisma.sql`AND "actorId" = ${userId}`)})`
      const [, rows] = await prisma.$transaction([
        // Planned for these values: a plan for any would read all of a busy user's events for a type that is rare.
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
 * The insert of an event. With the name of a CTE of the same statement, as many times as that has rows: none where the
 * act's guard held it off.
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

/** The same for a statement that is prepared once. */
export function eventInsert(guardedBy?: string): Template<SignedAuditEvent> {
  const from = guardedBy === undefined ? '' : `FROM "${guardedBy}"`
  return template<SignedAuditEvent>`
    INSERT INTO "AuditEvent" (${EVENT_COLUMNS})
    SELECT ${(event) => event.accountId}::uuid, ${(event) => event.occurredAt}::timestamptz,
      ${(event) => event.id}::uuid, ${(event) => event.type}, ${(event) => event.outcome}::"AuditOutcome",
      ${(event) => event.actor.kind}, ${(event) => event.actor.id}, ${(event) => event.actor.credential},
      ${(event) => event.target?.kind ?? null}, ${(event) => event.target?.id ?? null},
      ${(event) => event.userId}::uuid, ${(event) => event.reason}, ${(event) => event.ticket},
      ${(event) => event.address}, ${(event) => event.requestId}::uuid,
      ${(event) => event.details && JSON.stringify(event.details)}::json, ${(event) => event.mac}
    ${raw(from)}`
}

/** The insert of many: of each `event` of a CTE, which is what `asEventRow` makes. */
export function eventInsertFrom(cte: string): Template<unknown> {
  const columns = raw(EVENT_COLUMN_NAMES.map((name) => `e.${name}`).join(', '))
  return template`
    INSERT INTO "AuditEvent" (${EVENT_COLUMNS})
    SELECT ${columns}
    FROM ${raw(cte)}, json_populate_record(NULL::"AuditEvent", ${raw(cte)}.event) AS e`
}

/** An event by the names of its columns, as `json_populate_record` reads it. */
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

const recorded = prepare(eventInsert())

/** One account's events, newest first, in the order of an index and thus no more than asked for. */
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

// A number, since text has no year 0 and cursors may name every instant.
function asInstant(at: Date): Prisma.Sql {
  return Prisma.sql`to_timestamp(${at.getTime() / 1000}::float8)`
}

function placeOf({ occurredAt, id }: StoredAuditEvent): string {
  return instantPlaceOf({ at: new Date(occurredAt ?? Number.NaN), id })
}
