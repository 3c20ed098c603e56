// Folds repeated refusals of one actor and one act into one audit event with their number. Otherwise a caller whose
// requests are all refused could fill the audit trail.
import { networksOf } from '../input/client-addresses.ts'
import type { AuditEvent, AuditTarget } from './events.ts'

/**
 * Refusals that spend a guess. Budgets and pauses limit their number, and each is recorded before its response, so none of
 * them is folded.
 */
const GUESSES: ReadonlySet<string | null> = new Set([
  'invalid-credentials',
  'password-rejected',
  'code-rejected'
])

/** Refusals that one event will report. */
export interface FoldedRefusals {
  count: number
  firstAt: Date
  lastAt: Date
  /** The last of them. Its target and user are null unless all refusals have the same. */
  last: AuditEvent
}

/** Returns whether the event reports a refusal that may be folded. */
export function isFoldable({ outcome, reason }: AuditEvent): boolean {
  return outcome === 'refused' && !GUESSES.has(reason)
}

/**
 * Returns a key that refusals of one actor and one act have in common. An unknown actor is known by the network of its
 * address. The target is left out, because a caller can name any number of targets.
 */
export function actorAndActOf(event: AuditEvent): string {
  const { accountId, actor, type, reason, details, address } = event
  const from = actor.id === null ? networksOf(address).client : null
  return JSON.stringify([accountId, actor.kind, actor.id, from, type, reason, details])
}

/** Returns one refusal in the form in which it can be folded. */
export function refusalToFold(event: AuditEvent): FoldedRefusals {
  return { count: 1, firstAt: event.occurredAt, lastAt: event.occurredAt, last: event }
}

/** Returns the refusals of both. `earlier` may be null. */
export function foldTogether(
  earlier: FoldedRefusals | null,
  later: FoldedRefusals
): FoldedRefusals {
  if (!earlier) return later
  const { target, userId } = earlier.last
  return {
    count: earlier.count + later.count,
    firstAt: earlier.firstAt,
    lastAt: later.lastAt,
    last: {
      ...later.last,
      target: isSameTarget(target, later.last.target) ? target : null,
      userId: userId === later.last.userId ? userId : null
    }
  }
}

/** Returns the event that reports the refusals. Address and request are those of the last refusal. */
export function eventOfFolded(
  { count, firstAt, lastAt, last }: FoldedRefusals,
  { id, occurredAt }: Pick<AuditEvent, 'id' | 'occurredAt'>
): AuditEvent {
  const range = { count, firstAt: firstAt.toISOString(), lastAt: lastAt.toISOString() }
  return { ...last, id, occurredAt, details: { ...last.details, ...range } }
}

function isSameTarget(one: AuditTarget | null, other: AuditTarget | null): boolean {
  return one?.kind === other?.kind && one?.id === other?.id
}
