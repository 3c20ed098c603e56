// Problems, as errors to throw and as RFC 9457 documents to send.
import { FRESH_SECONDS } from '../core/claims.ts'
import type { Support } from '../core/support.ts'
import { type ProblemCode, problemKind } from './problems.ts'

export interface ProblemOptions {
  /** A text for people about this occurrence. It never describes internal errors. */
  detail?: string
  /** The fields that the table lists for the code. */
  extras?: Record<string, unknown>
  headers?: Record<string, string>
  /** For the log only. */
  cause?: unknown
  /** True if the audit event of the refusal is already written. */
  isAudited?: boolean
}

/** A failure to report to the caller, thrown by the code that finds it. */
export class Problem extends Error {
  override name = 'Problem'
  readonly code: ProblemCode
  readonly extras: Record<string, unknown>
  readonly headers: Record<string, string>
  readonly detail: string
  readonly isAudited: boolean

  constructor(code: ProblemCode, options: ProblemOptions = {}) {
    const { detail, extras, headers, cause, isAudited } = options
    const { title } = problemKind(code)
    super(detail ?? title, { cause })
    this.code = code
    this.detail = detail ?? `${title}.`
    this.extras = extras ?? {}
    this.headers = headers ?? {}
    this.isAudited = isAudited ?? false
  }
}

/** Builds `unavailable`: a dependency is unavailable, or the service is overloaded. `Retry-After` is in seconds. */
export function unavailable({
  retryAfterSeconds = 1,
  ...options
}: {
  retryAfterSeconds?: number
  detail?: string
  cause?: unknown
} = {}): Problem {
  return new Problem('unavailable', {
    ...options,
    headers: { 'retry-after': String(retryAfterSeconds) }
  })
}

/** Builds `invalid-request` for a field that the schema alone can't check. */
export function invalidMember(pointer: string, message: string): Problem {
  return new Problem('invalid-request', { extras: { errors: [{ pointer, message }] } })
}

/** Returns the options of a problem that names the support contact, if there is one. */
export function supportIn({
  support
}: {
  support: Support | null
}): Pick<ProblemOptions, 'extras'> {
  return support ? { extras: { support } } : {}
}

/** Builds `invalid-credential` for a credential that was revoked or expired after the service read it. */
export function revokedCredential(): Problem {
  return new Problem('invalid-credential', {
    headers: { 'www-authenticate': 'Bearer error="invalid_token"' }
  })
}

/** Builds `step-up-required` with the step that must come first, and the challenge of RFC 9470. */
export function stepUpRequired(next: 'verify' | 'enroll' | 'login'): Problem {
  return new Problem('step-up-required', {
    extras: { next },
    headers: {
      'www-authenticate': `Bearer error="insufficient_user_authentication", acr_values="urn:twostep:acr:2", max_age=${FRESH_SECONDS}`
    }
  })
}

/** Returns the RFC 9457 document of a problem. */
export function problemDocument(problem: Problem, requestId: string) {
  const { status, title } = problemKind(problem.code)
  return {
    type: `urn:twostep:problem:${problem.code}`,
    title,
    status,
    detail: problem.detail,
    code: problem.code,
    requestId,
    ...problem.extras
  }
}
