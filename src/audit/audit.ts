// Builds audit events. The event of an act is written by `data`, in the transaction of the act. The event of a refusal
// is written here, before the caller gets the response.
import type { FastifyRequest } from 'fastify'
import {
  type AuditActor,
  type AuditDetails,
  type AuditOutcome,
  type AuditTarget,
  type AuditType,
  NO_ACCOUNT,
  type SignedAuditEvent,
  signEvent
} from '../core/audit/events.ts'
import { UUID_FORM } from '../core/ids.ts'
import { generateId } from '../crypto/ids.ts'
import type { AuditEvents } from '../data/trail/audit-events.ts'
import type { Credential } from '../plugins/credentials.ts'
import { Problem, type ProblemOptions } from '../wire/problem.ts'
import { type ProblemCode, problemKind } from '../wire/problems.ts'
import type { Refusals } from './refusals.ts'

/** Facts about an act that the request alone does not contain. */
export interface Act {
  /** If the request causes another act in addition to its own. */
  type?: AuditType
  /** If the credential belongs to no account. */
  accountId?: string
  /** If the request has no credential that names the actor, as before a sign-in. */
  actor?: AuditActor
  /** If it differs from the target that the path names. */
  target?: AuditTarget | null
  /** The user whom the act concerns, if neither the target nor the credential is that user. */
  userId?: string
  reason?: string | null
  ticket?: string | null
  details?: AuditDetails | null
}

export interface Audit {
  /** Returns the event of an act that is about to be done. The act writes it in its own transaction. */
  succeeded(request: FastifyRequest, act?: Act): SignedAuditEvent
  /** Writes the event of a success that changes nothing else. */
  recordSuccess(request: FastifyRequest, act?: Act): Promise<void>
  /** Audits a refusal (refusals.ts) and returns the problem to throw, marked as audited. */
  refuse(
    request: FastifyRequest,
    code: ProblemCode,
    act?: Act,
    options?: Omit<ProblemOptions, 'isAudited'>
  ): Promise<Problem>
  /** Returns the event of a refusal, for a statement that records the refusal and its event together. */
  refusalOf(request: FastifyRequest, code: ProblemCode, act?: Act): SignedAuditEvent
  /** Audits a problem that was thrown (refusals.ts), unless it is already audited or refuses no act. */
  recordRefusal(request: FastifyRequest, problem: Problem): Promise<void>
}

/** Problems about the form, the number or the repetition of requests. Such a request has not tried an act yet. */
const NO_REFUSALS_OF_ACTS: ReadonlySet<ProblemCode> = new Set([
  'invalid-request',
  'body-too-large',
  'unsupported-media-type',
  'rate-limited',
  'idempotency-key-in-use'
])

export interface AuditOptions {
  key: Uint8Array
  auditEvents: AuditEvents
  refusals: Refusals
  now: () => Date
}

export function createAudit({ key, auditEvents, refusals, now }: AuditOptions): Audit {
  function eventOf(
    request: FastifyRequest,
    outcome: AuditOutcome,
    { reason = null, ticket = null, details = null, ...act }: Act
  ): SignedAuditEvent {
    const { credential } = request
    const type = act.type ?? request.act ?? request.routeOptions.config.act
    if (!type) throw new Error(`${request.routeOptions.url} must declare its act (config.act)`)
    const target = act.target === undefined ? targetOf(request) : act.target
    const event = signEvent(key, {
      accountId: act.accountId ?? accountOf(credential),
      id: generateId(),
      occurredAt: now(),
      type,
      outcome,
      target,
      reason,
      ticket,
      details,
      actor: act.actor ?? actorOf(credential),
      userId: act.userId ?? concernedUser(request, target),
      address: request.clientAddress,
      requestId: request.id
    })
    request.auditEvent = event
    const isByKey = outcome === 'succeeded' && credential?.kind === 'apiKey'
    return isByKey ? { ...event, actingScopes: credential.scopes } : event
  }

  function refusalOf(request: FastifyRequest, code: ProblemCode, act: Act = {}): SignedAuditEvent {
    return eventOf(request, 'refused', { ...act, reason: code })
  }

  return {
    succeeded: (request, act = {}) => eventOf(request, 'succeeded', act),

    recordSuccess: (request, act = {}) => auditEvents.record(eventOf(request, 'succeeded', act)),

    async refuse(request, code, act, options) {
      await refusals.record(refusalOf(request, code, act))
      return new Problem(code, { ...options, isAudited: true })
    },

    refusalOf,

    async recordRefusal(request, problem) {
      if (problem.isAudited || !request.credential || !request.routeOptions.config.act) return
      if (!isRefusalOfAct(request, problem)) return
      await refusals.record(refusalOf(request, problem.code))
    }
  }
}

function isRefusalOfAct({ method }: FastifyRequest, { code }: Problem): boolean {
  const { status } = problemKind(code)
  if (status >= 500 || NO_REFUSALS_OF_ACTS.has(code)) return false
  // A read of a missing object is no act. A read without permission is one.
  return !['GET', 'HEAD'].includes(method) || status === 401 || status === 403
}

function accountOf(credential: Credential | null): string {
  return credential && 'accountId' in credential ? credential.accountId : NO_ACCOUNT
}

function actorOf(credential: Credential | null): AuditActor {
  switch (credential?.kind) {
    case undefined:
      return { kind: 'anonymous', id: null, credential: null }
    case 'operator':
      return { kind: 'operator', id: credential.id, credential: 'operator_key' }
    case 'apiKey':
      return { kind: 'api_key', id: credential.id, credential: 'api_key' }
    case 'step':
      return { kind: 'user', id: credential.subject.userId, credential: 'step_token' }
    case 'accessToken':
      return { kind: 'user', id: credential.subject.userId, credential: 'access_token' }
  }
}

/** The parameters that name a target, the most specific first: of a user's authenticator, the authenticator. */
const TARGETS = [
  ['authenticatorId', 'authenticator'],
  ['deviceId', 'device'],
  ['identityId', 'sso_identity'],
  ['apiKeyId', 'api_key'],
  ['userId', 'user'],
  ['accountId', 'account']
] as const satisfies [string, AuditTarget['kind']][]

const OF_NO_USER: ReadonlySet<AuditTarget['kind']> = new Set(['account', 'api_key', 'policy'])

/** The form of all our ids. A refusal can come before the path is validated, and no other text of it is stored. */
const ID_FORM = /^[0-9a-z-]{12,36}$/

function targetOf(request: FastifyRequest): AuditTarget | null {
  const params = (request.params ?? {}) as Record<string, string | undefined>
  const [name, kind] = TARGETS.find(([name]) => params[name] !== undefined) ?? []
  if (!name || !kind) return null
  if (kind === 'user') {
    const id = userOfPath(request)
    return id === null ? null : { kind, id }
  }
  const id = params[name]?.toLowerCase() ?? ''
  return ID_FORM.test(id) ? { kind, id } : null
}

function concernedUser(request: FastifyRequest, target: AuditTarget | null): string | null {
  if (target?.kind === 'user') return target.id
  if (target && OF_NO_USER.has(target.kind)) return null
  const named = userOfPath(request)
  if (named !== null) return named
  return request.credential && 'subject' in request.credential
    ? request.credential.subject.userId
    : null
}

function userOfPath({ params, credential }: FastifyRequest): string | null {
  // A refusal can come before the path is validated, and so before its ids are in lower case.
  const userId = ((params ?? {}) as { userId?: string }).userId?.toLowerCase()
  if (userId === 'me')
    return credential && 'subject' in credential ? credential.subject.userId : null
  return userId !== undefined && UUID_FORM.test(userId) ? userId : null
}
