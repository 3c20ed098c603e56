// The record of what was done and what was refused. Each event carries a MAC under a key of the service, so that a row
// written or changed by SQL is told from one of ours; the links of a chain over all events tell when one is gone.
import { createHmac, timingSafeEqual } from 'node:crypto'

/** Every act that can be on record, succeeded or refused; acts that only read are there when they were refused. */
export const AUDIT_TYPES = [
  'account.create',
  'account.change',
  'account.read',
  'api_key.create',
  'api_key.read',
  'api_key.revoke',
  'audit.read',
  'authenticator.enroll',
  'authenticator.confirm',
  'authenticator.read',
  'authenticator.rename',
  'authenticator.remove',
  'device.read',
  'device.revoke',
  'mandate.set',
  'policy.read',
  'policy.change',
  'policy.preview',
  'recovery_codes.read',
  'recovery_codes.regenerate',
  'sign_in.password',
  'sign_in.assert',
  'sign_in.code',
  'sign_in.recovery_code',
  'sign_in.sso',
  'token.introspect',
  'two_factor.turn_off',
  'user.create',
  'user.read',
  'user.change',
  'user.delete',
  'user.reset'
] as const
export type AuditType = (typeof AUDIT_TYPES)[number]

/** The account of what belongs to none: the operator's own acts, a sign-in to an unknown account (RFC 9562 §5.9). */
export const NO_ACCOUNT = '00000000-0000-0000-0000-000000000000'

export const AUDIT_OUTCOMES = ['succeeded', 'refused'] as const
export type AuditOutcome = (typeof AUDIT_OUTCOMES)[number]

export const AUDIT_ACTOR_KINDS = ['user', 'api_key', 'operator', 'anonymous'] as const
export const AUDIT_CREDENTIALS = [
  'password',
  'step_token',
  'access_token',
  'api_key',
  'operator_key',
  'id_token'
] as const
export const AUDIT_TARGET_KINDS = [
  'account',
  'api_key',
  'authenticator',
  'device',
  'policy',
  'user'
] as const

export interface AuditActor {
  kind: (typeof AUDIT_ACTOR_KINDS)[number]
  /** Of a user or of a key; null for nobody known. */
  id: string | null
  /** What they showed. */
  credential: (typeof AUDIT_CREDENTIALS)[number] | null
}

export interface AuditTarget {
  kind: (typeof AUDIT_TARGET_KINDS)[number]
  id: string
}

export interface AuditEvent {
  accountId: string
  id: string
  occurredAt: Date
  type: AuditType
  outcome: AuditOutcome
  actor: AuditActor
  target: AuditTarget | null
  /** The user whom the act is about: the target itself, or the owner of the target. */
  userId: string | null
  /** Given by whoever acted; the problem code where they were refused. */
  reason: string | null
  /** The support case that an operator acted on. */
  ticket: string | null
  address: string
  requestId: string
  details: AuditDetails | null
}

/** Flat, and never a secret. */
export type AuditDetails = Record<string, string | number | boolean | null | string[]>

type Mac = Uint8Array<ArrayBuffer>

export type SignedAuditEvent = AuditEvent & { mac: Mac }

/**
 * An event as the database holds it, whoever wrote it there: what it says is not what it must be until `isGenuine`
 * says so.
 */
export interface StoredAuditEvent {
  accountId: string
  id: string
  /** As `toISOString` spells it; null for what we would never write, as infinity or a year before Christ. */
  occurredAt: string | null
  type: string
  outcome: string
  actor: { kind: string; id: string | null; credential: string | null }
  target: { kind: string | null; id: string | null } | null
  userId: string | null
  reason: string | null
  ticket: string | null
  address: string
  requestId: string
  /** The JSON itself, since the MAC covers its spelling. */
  details: string | null
  mac: Uint8Array
}

/** HMAC-SHA-256 (RFC 2104) over an event, each member in its place. */
export function macOf(key: Uint8Array, event: AuditEvent): Mac {
  return macOfStored(key, storedForm(event))
}

/** The event as it is stored. */
export function signEvent(key: Uint8Array, given: AuditEvent): SignedAuditEvent {
  const event = { ...given, reason: wellFormed(given.reason), ticket: wellFormed(given.ticket) }
  return { ...event, mac: macOf(key, event) }
}

/** Whether an event is as it was written here, compared in constant time. */
export function isGenuine(key: Uint8Array, event: StoredAuditEvent): boolean {
  const expected = macOfStored(key, event)
  return event.mac.length === expected.length && timingSafeEqual(event.mac, expected)
}

/** How the members that are no text are written down. */
export function storedForm<Event extends AuditEvent>(event: Event) {
  return {
    ...event,
    occurredAt: event.occurredAt.toISOString(),
    details: event.details && JSON.stringify(event.details)
  }
}

/** The link that chains an event to all before it; `previous` is null at the first. */
export function linkOf(
  key: Uint8Array,
  { previous, sequence, mac }: { previous: Uint8Array | null; sequence: bigint; mac: Uint8Array }
): Mac {
  return hmac(key, JSON.stringify(['link', String(sequence), hexOf(previous), hexOf(mac)]))
}

// JSON keeps the members apart, and the first of them keeps events and links apart. The details come last and as they
// are: they need not be read to be judged, and no details are told from `null`.
function macOfStored(key: Uint8Array, event: Omit<StoredAuditEvent, 'mac'>): Mac {
  const { actor, target, details } = event
  const members = JSON.stringify([
    'event',
    event.accountId,
    event.id,
    event.occurredAt,
    event.type,
    event.outcome,
    actor.kind,
    actor.id,
    actor.credential,
    target && [target.kind, target.id],
    event.userId,
    event.reason,
    event.ticket,
    event.address,
    event.requestId
  ])
  return hmac(key, details === null ? members : `${members.slice(0, -1)},${details}]`)
}

// Half a surrogate pair has no UTF-8, so it is stored as U+FFFD; signed is what is stored.
function wellFormed(text: string | null): string | null {
  return text?.replace(/\p{Surrogate}/gu, '\ufffd') ?? null
}

function hexOf(bytes: Uint8Array | null): string | null {
  return bytes && Buffer.from(bytes).toString('hex')
}

function hmac(key: Uint8Array, text: string): Mac {
  return new Uint8Array(createHmac('sha256', key).update(text).digest())
}
