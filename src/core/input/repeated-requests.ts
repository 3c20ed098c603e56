// Requests that a client may safely repeat: they name a key in the header `Idempotency-Key`
// (draft-ietf-httpapi-idempotency-key-header-07).
import { createHash } from 'node:crypto'

/** The time in which a repetition gets the stored response. Clients give up much earlier. */
export const STORED_RESPONSE_SECONDS = 24 * 3600

export interface RepeatableRequest {
  /** Only the same credential gets the stored response. */
  credential: { kind: string; id: string }
  /** The method and the path of the route. */
  operation: string
  key: string
  body: unknown
}

export interface RequestIdentity {
  /** The same for every request with this credential, operation and key, in the form of a UUID. */
  id: string
  /** The same for every request with the same body in addition. The order of its members does not matter. */
  fingerprint: string
}

/**
 * Returns the identity of a request. The fingerprint of a body with a password lets an attacker test guesses, so the caller seals
 * it before it is stored.
 */
export function identifyRequest({
  credential: { kind, id },
  operation,
  key,
  body
}: RepeatableRequest): RequestIdentity {
  const names = [kind, id, operation, key]
  const [a, b, c, d, e] = /^(.{8})(.{4})(.{4})(.{4})(.{12})/.exec(digestOf(names))?.slice(1) ?? []
  return { id: [a, b, c, d, e].join('-'), fingerprint: digestOf([...names, body]) }
}

function digestOf(value: unknown): string {
  return createHash('sha256').update(JSON.stringify(value, inOrder)).digest('hex')
}

/** Two spellings of the same JSON object differ only in the order of its members. */
function inOrder(_name: string, value: unknown): unknown {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return value
  return Object.fromEntries(Object.entries(value).sort(([one], [other]) => (one < other ? -1 : 1)))
}
