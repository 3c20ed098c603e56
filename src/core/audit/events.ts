// The audit events: acts that were done or refused. Each event carries a MAC under a key of the service, so a row that
// SQL inserted or changed is detected. A hash chain over all events reveals a missing one.
import { createHmac, timingSafeEqual } from 'node:crypto'

/** Every act that is audited when it succeeds or is refused. Acts that only read are audited only when refused. */
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
  'sso_identity.read',
  'sso_identity.link',
  'sso_identity.unlink',
  'token.introspect',
  'two_factor.require',
  'two_factor.turn_off',
  'user.create',
  'user.read',
  'user.change',
  'user.delete',
  'user.reset',
  'user.sign_out'
] as const
export type AuditType = (typeof AUDIT_TYPES)[number]

/** The account of events without one: the operator's own acts, sign-ins to an unknown account (RFC 9562 §5.9). */
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
  'sso_identity',
  'user'
] as const

export interface AuditActor {
  kind: (typeof AUDIT_ACTOR_KINDS)[number]
  /** The id of a user or a key; null for an unknown actor. */
  id: string | null
  /** The credential that the actor presented. */
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
  /** The user whom the act concerns: the target, or the owner of the target. */
  userId: string | null
  /** The reason that the actor gave, or the problem code if the act was refused. */
  reason: string | null
  /** The support case behind an operator's act. */
  ticket: string | null
  address: string
  requestId: string
  details: AuditDetails | null
}

/** Flat values, and never a secret. */
export type AuditDetails = Record<string, string | number | boolean | null | string[]>

type Mac = Uint8Array<ArrayBuffer>

export type SignedAuditEvent = AuditEvent & {
  mac: Mac
  /**
   * The scopes of the API key that acts, as the request read them. The write of the event requires that the key still has
   * them. Not stored, and absent for a refusal and for any other actor.
   */
  actingScopes?: readonly string[]
}

/**
 * An event as the database holds it. Anyone with access to the database could have written it, so it is trusted only after
 * `isGenuine`.
 */
export interface StoredAuditEvent {
  accountId: string
  id: string
  /** In the form of `toISOString`; null for a value that we never write, such as infinity or a year before 1 AD. */
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
  /** The JSON text, because the MAC covers its exact spelling. */
  details: string | null
  mac: Uint8Array
}

/** Returns the HMAC-SHA-256 (RFC 2104) of an event, over all members in a fixed order. */
export function macOf(key: Uint8Array, event: AuditEvent): Mac {
  return macOfStored(key, storedForm(event))
}

/** Returns the event in the form that is stored, with its MAC. */
export function signEvent(key: Uint8Array, given: AuditEvent): SignedAuditEvent {
  const event = { ...given, reason: wellFormed(given.reason), ticket: wellFormed(given.ticket) }
  return { ...event, mac: macOf(key, event) }
}

/** Returns whether the service wrote this event exactly as it is. The comparison takes constant time. */
export function isGenuine(key: Uint8Array, event: StoredAuditEvent): boolean {
  const expected = macOfStored(key, event)
  return event.mac.length === expected.length && timingSafeEqual(event.mac, expected)
}

/** Returns the event with the members that are not text in their stored form. */
export function storedForm<Event extends AuditEvent>(event: Event) {
  return {
    ...event,
    occurredAt: event.occurredAt.toISOString(),
    details: event.details && JSON.stringify(event.details)
  }
}

/** Returns the link that chains an event to all earlier ones. `previous` is null for the first event. */
export function linkOf(
  key: Uint8Array,
  { previous, sequence, mac }: { previous: Uint8Array | null; sequence: bigint; mac: Uint8Array }
): Mac {
  return hmac(key, JSON.stringify(['link', String(sequence), hexOf(previous), hexOf(mac)]))
}

// JSON separates the members unambiguously, and the first member distinguishes events from links. The details come last,
// as stored text: verification need not parse them. Absent details differ from the text `null`.
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

// An unpaired surrogate has no UTF-8 form, so it is stored as U+FFFD. The MAC covers the stored form.
function wellFormed(text: string | null): string | null {
  return text?.replace(/\p{Surrogate}/gu, '\ufffd') ?? null
}

function hexOf(bytes: Uint8Array | null): string | null {
  return bytes && Buffer.from(bytes).toString('hex')
}

function hmac(key: Uint8Array, text: string): Mac {
  return new Uint8Array(createHmac('sha256', key).update(text).digest())
}
