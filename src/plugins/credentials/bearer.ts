// The `Authorization` header, and the problem for a credential that is missing or invalid.
import type { FastifyRequest } from 'fastify'
import { Problem } from '../../wire/problem.ts'
import type { CredentialRule } from '../credentials.ts'

/** Our credentials are shorter than 1 KiB. Longer ones are not worth decoding. */
const BEARER_FORM = /^Bearer ([\x21-\x7e]{1,4096})$/i

/** Returns what the request presents as its credential; null if it presents none in a known form. */
export function bearerOf({ headers }: FastifyRequest): string | null {
  return BEARER_FORM.exec(headers.authorization ?? '')?.[1] ?? null
}

/** Returns the rule of the request's route; null if anyone may call it. */
export function ruleOf({ routeOptions }: FastifyRequest): CredentialRule | null {
  const { credentials = 'none' } = routeOptions.config
  return credentials === 'none' ? null : credentials
}

/** Builds `invalid-credential`. RFC 6750 §3.1: the challenge has no error code if no credential was sent. */
export function invalidCredential(request: FastifyRequest): Problem {
  const challenge = request.headers.authorization ? 'Bearer error="invalid_token"' : 'Bearer'
  return new Problem('invalid-credential', { headers: { 'www-authenticate': challenge } })
}
