// The API key behind an act is judged again in the write of the audit event. No act of a key lacks this event, so no act lacks
// the check, and it costs no round trip.
import type { SignedAuditEvent } from '../../core/audit/events.ts'
import { hasSqlState } from '../engine/availability.ts'
import { type Template, template } from '../engine/statements.ts'

/**
 * Returns the account of an event. If an API key acts, holds the key until the transaction ends, and fails the statement if
 * the key was revoked, has expired, or lacks a scope that it had when the request read it.
 */
export const heldAccount: Template<SignedAuditEvent> = template<SignedAuditEvent>`
  CASE WHEN ${scopesOf}::text[] IS NULL THEN ${accountOf}::uuid
  ELSE "holdActingKey"(${accountOf}::uuid, ${({ actor }) => actor.id}::text, ${scopesOf}::text[],
    ${({ occurredAt }) => occurredAt}::timestamptz) END`

/** Returns why a write was refused to the API key that acts; null for any other error. */
export function actingKeyRefusal(
  error: unknown
): 'invalid-credential' | 'insufficient-scope' | null {
  if (hasSqlState(error, 'TS401')) return 'invalid-credential'
  return hasSqlState(error, 'TS403') ? 'insufficient-scope' : null
}

function accountOf({ accountId }: SignedAuditEvent): string {
  return accountId
}

/** Scopes are letters, colons and hyphens, which need no quotes in PostgreSQL's text format of an array. */
function scopesOf({ actingScopes }: SignedAuditEvent): string | null {
  return actingScopes ? `{${actingScopes.join(',')}}` : null
}
