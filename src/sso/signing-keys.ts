// The keys of a provider's key set that can verify a signature of an ID token. An account's admin has chosen the provider,
// so the set can contain anything. Only the members that a verification needs are kept.
import type { JWK } from 'jose'
import { ID_TOKEN_ALGORITHMS } from '../core/id-tokens.ts'

/** Entra ID, which has more keys than the other known providers, publishes about ten. */
export const KEYS_MAX = 50

/** RSA keys below 2048 bits are rejected by jose. Above 8192 bits, a single verification takes milliseconds. */
const RSA_MODULUS = /^[A-Za-z0-9_-]{342,1366}$/
/** In practice always 65537. OpenSSL's time grows with the length. */
const RSA_EXPONENT = /^[A-Za-z0-9_-]{2,6}$/

/** The coordinates of each curve, in base64url. */
const COORDINATES: Readonly<Record<string, RegExp>> = {
  'P-256': /^[A-Za-z0-9_-]{43}$/,
  'P-384': /^[A-Za-z0-9_-]{64}$/,
  'P-521': /^[A-Za-z0-9_-]{88}$/,
  Ed25519: /^[A-Za-z0-9_-]{43}$/
}
const KEY_ID_LENGTH_MAX = 256

interface ReadKeys {
  keys: JWK[]
  /** The number of entries that were left out. */
  ignored: number
}

/** Returns the usable keys of a key set (RFC 7517 §5), in its order. Throws if it is not a key set. */
export function readKeySet(document: unknown): ReadKeys {
  const { keys: entries } = asObject(document)
  if (!Array.isArray(entries)) throw new Error('the key set has no keys')
  const keys: JWK[] = []
  for (const entry of entries) {
    const key = keys.length < KEYS_MAX ? usableKey(entry) : null
    if (key) keys.push(key)
  }
  return { keys, ignored: entries.length - keys.length }
}

/** Returns the bytes that the keys occupy in memory, roughly: those of their text. */
export function sizeOf(keys: readonly JWK[]): number {
  return JSON.stringify(keys).length
}

/** Returns the public part of a key that can verify; null for any other value. */
function usableKey(entry: unknown): JWK | null {
  const jwk = asObject(entry)
  const material = materialOf(jwk)
  if (!material || !isForSignatures(jwk)) return null
  const { kid, alg } = jwk
  return {
    ...material,
    ...(typeof alg === 'string' ? { alg } : {}),
    ...(typeof kid === 'string' && kid.length <= KEY_ID_LENGTH_MAX ? { kid } : {})
  }
}

function isForSignatures({ use, key_ops, alg }: Record<string, unknown>): boolean {
  const isAlgorithm = ID_TOKEN_ALGORITHMS.some((algorithm) => algorithm === alg)
  return (
    (use ?? 'sig') === 'sig' &&
    (isAbsent(key_ops) || (Array.isArray(key_ops) && key_ops.includes('verify'))) &&
    (isAbsent(alg) || isAlgorithm)
  )
}

function materialOf({ kty, crv, x, y, n, e }: Record<string, unknown>): JWK | null {
  if (kty === 'RSA') {
    return isText(n, RSA_MODULUS) && isText(e, RSA_EXPONENT) ? { kty, n, e } : null
  }
  const form = typeof crv === 'string' && Object.hasOwn(COORDINATES, crv) ? COORDINATES[crv] : null
  if (typeof crv !== 'string' || !form || !isText(x, form)) return null
  if (kty === 'OKP') return crv === 'Ed25519' ? { kty, crv, x } : null
  return kty === 'EC' && crv !== 'Ed25519' && isText(y, form) ? { kty, crv, x, y } : null
}

function isText(value: unknown, form: RegExp): value is string {
  return typeof value === 'string' && form.test(value)
}

function isAbsent(value: unknown): boolean {
  return value === undefined || value === null
}

/** Returns the members of an object; none for any other value. */
export function asObject(value: unknown): Record<string, unknown> {
  const isObject = typeof value === 'object' && value !== null && !Array.isArray(value)
  return isObject ? (value as Record<string, unknown>) : {}
}
