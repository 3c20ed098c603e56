// The record, for those whom it is kept for: the account's admins and its own systems.
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

export interface AuditEventsOptions {
  auditEvents: AuditEvents
}

// Answers are not held to these lists: a row must not hide the others by being of a newer release, or nobody's at all.
const Word = (words: readonly string[]) => Type.Unsafe<string>({ type: 'string', enum: words })
const WordOrNull = (words: readonly string[]) =>
  Type.Unsafe<string | null>({ type: ['string', 'null'], enum: [...words, null] })

const Target = Type.Unsafe<StoredAuditEvent['target']>({
  type: ['object', 'null'],
  description: 'What the act was done to, where that is a thing of its own.',
  required: ['kind', 'id'],
  properties: { kind: Word(AUDIT_TARGET_KINDS), id: Type.String() }
})

const Details = Type.Unsafe<object | null>({
  type: ['object', 'null'],
  description: 'What else is worth knowing of an act of this type.',
  additionalProperties: true
})

const AuditEventAnswer = Type.Object({
  id: Uuid,
  occurredAt: Instant,
  type: Word(AUDIT_TYPES),
  outcome: Word(AUDIT_OUTCOMES),
  actor: Type.Object({
    kind: Word(AUDIT_ACTOR_KINDS),
    id: Nullable(Type.String({ description: 'Of a user or of a key.' })),
    credential: WordOrNull(AUDIT_CREDENTIALS)
  }),
  target: Target,
  reason: Nullable(
    Type.String({ description: 'Given by whoever acted; a problem `code` where it was refused.' })
  ),
  ticket: Nullable(Type.String({ description: 'The support case of an operator’s act.' })),
  address: Type.String({ examples: ['198.51.100.7'] }),
  requestId: Uuid,
  details: Details
})

const AuditQuery = Type.Object(
  {
    type: Type.Optional(Type.Enum([...AUDIT_TYPES])),
    userId: Type.Optional(
      Type.String({ ...Uuid, description: 'Events about this user, or of what they did.' })
    ),
    since: Type.Optional(Type.String({ ...Instant, description: 'Not before this instant.' })),
    ...PageQuery.properties
  },
  { additionalProperties: false }
)

const auditEventRoutes: FastifyPluginAsyncTypebox<AuditEventsOptions> = async (
  app,
  { auditEvents }
) => {
  app.get(
    '/v1/audit-events',
    {
      config: {
        limit: 'address',
        act: 'audit.read',
        credentials: { apiKey: ['audit:read'], accessToken: { holder: 'admin' } }
      },
      schema: {
        operationId: 'listAuditEvents',
        summary: 'List what was done and what was refused, newest first',
        description:
          'Every act that changes something, and every refusal of a caller who was known. Events are never changed or removed.',
        tags: ['Audit'],
        querystring: AuditQuery,
        response: {
          200: Type.Object({ items: Type.Array(AuditEventAnswer), nextCursor: NextCursor })
        }
      }
    },
    async (request) => {
      const { accountId } = request.credentialOf('apiKey', 'accessToken')
      const { type, userId, since, ...paging } = request.query
      const filter = {
        ...(type === undefined ? {} : { type }),
        ...(userId === undefined ? {} : { userId }),
        ...(since === undefined ? {} : { since: instantOf(since, '/since') })
      }
      const page = await auditEvents.list(
        accountId,
        filter,
        pageRequestOf(paging, INSTANT_PLACE_FORM)
      )
      return pageAnswer(page, asAnswer)
    }
  )
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
