// Operator and API keys: opaque bearer secrets with a prefix that secret scanners recognise.
import { createHash, timingSafeEqual } from 'node:crypto'

type BearerKeyKind = 'operator' | 'api'

export interface BearerKey {
  kind: BearerKeyKind
  /** Names the key in lists and logs; twelve lower-case letters or digits. */
  id: string
  /** 256 bits as 43 base64url characters. */
  secret: string
}

/** The permissions that an API key can have. */
export const SCOPES = [
  'users:read',
  'users:write',
  'users:reset',
  'login:assert',
  'login:assert-sso',
  'policy:read',
  'policy:write',
  'audit:read',
  'introspect',
  'keys:write',
  // The scopes below are needed in addition to another one, or for a single resource.
  'sso:write',
  'admins:write',
  'webhooks:write'
] as const
export type Scope = (typeof SCOPES)[number]

/** A line of API keys, of which each created the next. More than any delegation needs, and it bounds the line that each key stores. */
const GENERATIONS_MAX = 16

/** Returns whether a key may follow this many keys in a line. */
export function fitsLine(makers: number): boolean {
  return makers < GENERATIONS_MAX
}

const PREFIXES = { operator: 'tso', api: 'tsk' } as const satisfies Record<BearerKeyKind, string>
export const BEARER_KEY_ID_LENGTH = 12
export const BEARER_KEY_SECRET_BYTES = 32
export const BEARER_KEY_ID_FORM = /^[a-z0-9]{12}$/
const FORM = /^(tso|tsk)_([a-z0-9]{12})_([A-Za-z0-9_-]{43})$/

/** Returns the key in the form that its holder sends: `tsk_<id>_<secret>`. */
export function formatBearerKey({ kind, id, secret }: BearerKey): string {
  return `${PREFIXES[kind]}_${id}_${secret}`
}

/** Reads a key. Returns null for text that does not have exactly this form. */
export function parseBearerKey(text: string): BearerKey | null {
  const [, prefix, id, secret] = FORM.exec(text) ?? []
  if (id === undefined || secret === undefined) return null
  return { kind: prefix === PREFIXES.operator ? 'operator' : 'api', id, secret }
}

/** Returns the hash to store. One SHA-256 is enough for 256 random bits, because no list of likely secrets exists. */
export function hashBearerSecret(secret: string): Uint8Array<ArrayBuffer> {
  return Uint8Array.from(createHash('sha256').update(secret).digest())
}

/** Returns whether a secret has this hash. The comparison takes constant time. */
export function isSecretOf(secret: string, hash: Uint8Array): boolean {
  const given = hashBearerSecret(secret)
  return given.length === hash.length && timingSafeEqual(given, hash)
}
