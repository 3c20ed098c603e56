// The failures that the API answers, as errors to throw and as RFC 9457 documents to send.
import { type ProblemCode, problemKind } from './problems.ts'

export interface ProblemOptions {
  /** What a person may read about this occurrence; never anything internal. */
  detail?: string
  /** The members that the table lists for the code. */
  extras?: Record<string, unknown>
  headers?: Record<string, string>
  /** For the log only. */
  cause?: unknown
  /** True if the audit event of the refusal is already written. */
  isAudited?: boolean
}

/** A failure that the caller is told about, thrown from wherever it is found. */
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

/** Builds `unavailable`: a dependency is away, or the service is overloaded. `Retry-After` is in seconds. */
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

/** `invalid-request` for a member that the schema alone can't judge. */
export function invalidMember(pointer: string, message: string): Problem {
  return new Problem('invalid-request', { extras: { errors: [{ pointer, message }] } })
}

/** Builds `invalid-credential` for a credential that was revoked or expired after the service read it. */
export function revokedCredential(): Problem {
  return new Problem('invalid-credential', {
    headers: { 'www-authenticate': 'Bearer error="invalid_token"' }
  })
}

/** The RFC 9457 document of a problem. */
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
