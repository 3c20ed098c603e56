// The audit trail, as the admins and the back ends of an account read it.
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import { Type } from 'typebox'
import {
  AUDIT_ACTOR_KINDS,
  AUDIT_CREDENTIALS,
  AUDIT_OUTCOMES,
  AUDIT_TARGET_KINDS,
  AUDIT_TYPES,
  type StoredAuditEvent
} from '../../core/audit/events.ts'
import { INSTANT_PLACE_FORM, pageAnswer } from '../../core/lists/pages.ts'
import type { AuditEvents } from '../../data/trail/audit-events.ts'
import { NextCursor, PageQuery, pageRequestOf } from '../../wire/lists.ts'
import { Instant, instantOf, Nullable, Uuid } from '../../wire/scalars.ts'
import type { RequestOf, RouteDefinition } from '../definitions.ts'

interface AuditEventsOptions {
  auditEvents: AuditEvents
}

// The spec lists the known words, but a response may hold other ones. An event that a newer release or a direct change of
// the database has written must not make the whole page fail.
const Word = (words: readonly string[]) => Type.Unsafe<string>({ type: 'string', enum: words })
const WordOrNull = (words: readonly string[]) =>
  Type.Unsafe<string | null>({ type: ['string', 'null'], enum: [...words, null] })

const Target = Type.Unsafe<StoredAuditEvent['target']>({
  type: ['object', 'null'],
  description: 'The object of the act, or null if the act has none of its own.',
  required: ['kind', 'id'],
  properties: { kind: Word(AUDIT_TARGET_KINDS), id: Type.String() }
})

const Details = Type.Unsafe<object | null>({
  type: ['object', 'null'],
  description:
    'More fields, which depend on the type of the event. If a caller repeats an act that is refused, one event each minute stands for the repeated refusals. In this event, `count` is their number, and `firstAt` and `lastAt` are the times of the first and the last one. Its `address` and `requestId` are those of the last one. Its `target` is null if they had different targets.',
  additionalProperties: true
})

const AuditEventAnswer = Type.Object(
  {
    id: Uuid,
    occurredAt: Instant,
    type: Word(AUDIT_TYPES),
    outcome: Word(AUDIT_OUTCOMES),
    actor: Type.Object({
      kind: Word(AUDIT_ACTOR_KINDS),
      id: Nullable(Type.String({ description: 'The id of the user or of the key.' })),
      credential: WordOrNull(AUDIT_CREDENTIALS)
    }),
    target: Target,
    reason: Nullable(
      Type.String({
        description: 'The reason that the actor gave, or the problem `code` of a refused act.'
      })
    ),
    ticket: Nullable(
      Type.String({ description: 'The support case behind an act of the operator.' })
    ),
    address: Type.String({ examples: ['198.51.100.7'] }),
    requestId: Uuid,
    details: Details
  },
  { title: 'AuditEvent' }
)

const AuditQuery = Type.Object(
  {
    type: Type.Optional(Type.Enum([...AUDIT_TYPES])),
    userId: Type.Optional(
      Type.String({ ...Uuid, description: 'Only events about this user or by this user.' })
    ),
    since: Type.Optional(
      Type.String({ ...Instant, description: 'Only events at this instant or later.' })
    ),
    ...PageQuery.properties
  },
  { additionalProperties: false }
)

const LIST_AUDIT_EVENTS = {
  config: {
    limit: 'address',
    act: 'audit.read',
    credentials: { apiKey: ['audit:read'], accessToken: { holder: 'admin' } }
  },
  schema: {
    operationId: 'listAuditEvents',
    summary: 'List the audit events',
    description:
      'Returns one page of the audit trail of the account, newest first. It holds an event for every act that changed something and for every refused act of an authenticated caller. Events are never changed. They are kept permanently, unless the operator has limited the number of months (`AUDIT_RETENTION_MONTHS`).',
    tags: ['Audit'],
    querystring: AuditQuery,
    response: {
      200: Type.Object(
        { items: Type.Array(AuditEventAnswer), nextCursor: NextCursor },
        { title: 'AuditEventPage' }
      )
    }
  }
} as const satisfies RouteDefinition

const auditEventRoutes: FastifyPluginAsyncTypebox<AuditEventsOptions> = async (
  app,
  { auditEvents }
) => {
  app.get('/v1/audit-events', LIST_AUDIT_EVENTS, listAuditEvents)

  async function listAuditEvents(request: RequestOf<typeof LIST_AUDIT_EVENTS>) {
    const { accountId } = request.credentialOf('apiKey', 'accessToken')
    const { type, userId, since, ...paging } = request.query
    const filter = {
      ...(type === undefined ? {} : { type }),
      ...(userId === undefined ? {} : { userId }),
      ...(since === undefined ? {} : { since: instantOf(since, '/since') })
    }
    const asked = pageRequestOf(paging, INSTANT_PLACE_FORM)
    const page = await auditEvents.list(accountId, filter, asked)
    return pageAnswer(page, asAnswer)
  }
}

export default auditEventRoutes

function asAnswer({ occurredAt, details, ...event }: StoredAuditEvent) {
  const read: unknown = details === null ? null : JSON.parse(details)
  return {
    ...event,
    occurredAt: occurredAt ?? '',
    details: typeof read === 'object' && !Array.isArray(read) ? read : null
  }
}
