// Turns every error into a problem document for the caller and a cause for the log, and keeps the two apart.
import type { Socket } from 'node:net'
import type { FastifyError, FastifyReply, FastifyRequest } from 'fastify'
import fastifyPlugin from 'fastify-plugin'
import { generateId } from '../crypto/ids.ts'
import { Problem, problemDocument, revokedCredential, unavailable } from '../wire/problem.ts'
import { type ProblemCode, problemKind } from '../wire/problems.ts'

declare module 'fastify' {
  interface FastifyRequest {
    /** The problem that was sent; null if the request did not fail. */
    problem: Problem | null
  }
}

/** Stands for every URL that can't be decoded. No client can send it, because it contains a space. */
export const MALFORMED_URL = '/malformed url'

export const PROBLEM_MEDIA_TYPE = 'application/problem+json'

/** Set here too, because no hook runs for a request that Fastify rejects before routing. */
const PROBLEM_HEADERS = {
  'content-type': PROBLEM_MEDIA_TYPE,
  'cache-control': 'no-store',
  'x-content-type-options': 'nosniff'
}

/** The problems for requests that Fastify itself rejects, by Fastify's error codes. */
const FASTIFY_PROBLEMS: Record<string, ProblemCode> = {
  FST_ERR_CTP_BODY_TOO_LARGE: 'body-too-large',
  FST_ERR_CTP_INVALID_MEDIA_TYPE: 'unsupported-media-type',
  FST_ERR_NOT_FOUND: 'not-found'
}

export interface ProblemHandlingOptions {
  /** Returns whether an error means that the database can't be reached or is overloaded. */
  isDatabaseUnavailable(error: unknown): boolean
  /** Returns why a write was refused to the API key that acts; null for any other error. */
  actingKeyRefusal(error: unknown): 'invalid-credential' | 'insufficient-scope' | null
  /** Writes the audit event of a refusal, before the caller gets the response. */
  audit: { recordRefusal(request: FastifyRequest, problem: Problem): Promise<void> }
}

export const problemHandling = fastifyPlugin<ProblemHandlingOptions>(
  async (app, { audit, ...judges }) => {
    app.decorateRequest('problem', null)
    app.setErrorHandler(async (error: FastifyError, request, reply) => {
      const problem = await audited(request, asProblem(error, judges))
      log(request, problem, error)
      return sendProblem(request, reply, problem)
    })

    /** Audits a refusal. Returns the problem to send, which is another one if the audit failed. */
    async function audited(request: FastifyRequest, problem: Problem): Promise<Problem> {
      try {
        await audit.recordRefusal(request, problem)
        return problem
      } catch (error) {
        request.log.error(error, 'refusal not audited')
        return asProblem(error as FastifyError, judges)
      }
    }

    app.setNotFoundHandler((request, reply) => {
      const problem =
        request.url === MALFORMED_URL
          ? new Problem('invalid-request', { extras: { errors: [] } })
          : new Problem('not-found')
      return sendProblem(request, reply, problem)
    })
  },
  { name: 'problem-handling' }
)

export function sendProblem(
  request: FastifyRequest,
  reply: FastifyReply,
  problem: Problem
): FastifyReply {
  request.problem = problem
  return reply
    .code(problemKind(problem.code).status)
    .headers({ ...PROBLEM_HEADERS, 'x-request-id': request.id, ...problem.headers })
    .send(
      JSON.stringify({ ...problemDocument(problem, request.id), ...supportOf(request, problem) })
    )
}

/** Names the support contact of the caller's account in the problems that a user may need help with. */
function supportOf({ credential }: FastifyRequest, { code, extras }: Problem) {
  const mayNeedHelp = 'support' in (problemKind(code).extras ?? {})
  // Without a scope, or with that of a step token, the caller only has to wait or to sign in again.
  const isForUser = code !== 'too-many-attempts' || extras['scope'] === 'user'
  if (!mayNeedHelp || !isForUser || !credential || !('subject' in credential)) return {}
  const { support } = credential.subject
  return support ? { support } : {}
}

/** Rejects a message that is not HTTP, such as a broken request line or endless headers, and closes the connection. */
export function rejectMalformed(error: Error & { code?: string }, socket: Socket): void {
  if (error.code === 'ECONNRESET' || !socket.writable) {
    socket.destroy()
    return
  }
  const requestId = generateId()
  const problem = new Problem('invalid-request', { extras: { errors: [] } })
  const body = JSON.stringify(problemDocument(problem, requestId))
  const headers = { ...PROBLEM_HEADERS, 'x-request-id': requestId, connection: 'close' }
  const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`)
  const length = Buffer.byteLength(body)
  socket.end(
    `HTTP/1.1 400 Bad Request\r\n${lines.join('')}content-length: ${length}\r\n\r\n${body}`
  )
}

function asProblem(
  error: FastifyError,
  { isDatabaseUnavailable, actingKeyRefusal }: Omit<ProblemHandlingOptions, 'audit'>
): Problem {
  if (error instanceof Problem) return error
  if (error.validation) return invalidRequest(error)
  const known = FASTIFY_PROBLEMS[error.code]
  if (known) return new Problem(known)
  const refusal = actingKeyRefusal(error)
  if (refusal === 'invalid-credential') return revokedCredential()
  if (refusal) return new Problem(refusal)
  if (isDatabaseUnavailable(error)) return unavailable()
  // Fastify's other rejections are about the form of the request: invalid JSON, an invalid URL, or dangerous keys.
  if (error.statusCode !== undefined && error.statusCode >= 400 && error.statusCode < 500) {
    return new Problem('invalid-request', {
      extras: { errors: [{ pointer: '', message: 'can’t be parsed' }] }
    })
  }
  return new Problem('internal')
}

/** By Fastify's names of the parts of a request. */
const INVALID_PARTS: Record<string, string> = {
  body: 'The body is invalid.',
  headers: 'The headers are invalid.',
  params: 'The path is invalid.',
  querystring: 'The query is invalid.'
}

function invalidRequest({ validation, validationContext }: FastifyError): Problem {
  const errors = (validation ?? []).map(({ keyword, instancePath, params, message }) => ({
    pointer: `${instancePath}${pointerBeyond(keyword, params)}`,
    message: message ?? 'is invalid'
  }))
  return new Problem('invalid-request', {
    detail: INVALID_PARTS[validationContext ?? ''] ?? 'The request is invalid.',
    extras: { errors }
  })
}

/** Returns the rest of a pointer. Ajv reports a missing or unknown field at its parent, but the caller needs the field. */
function pointerBeyond(keyword: string, params: Record<string, unknown>): string {
  const member = keyword === 'required' ? params['missingProperty'] : params['additionalProperty']
  if (typeof member !== 'string') return ''
  return `/${member.replaceAll('~', '~0').replaceAll('/', '~1')}`
}

function log(request: FastifyRequest, { code, cause }: Problem, error: FastifyError): void {
  const { status } = problemKind(code)
  if (status >= 500) {
    request.log.error({ err: cause ?? error, code }, 'request failed')
    return
  }
  const why = whyMalformed(error)
  const { url: route } = request.routeOptions
  request.log.info({ code, route, ...(why && { why }) }, 'request refused')
}

/**
 * Returns what is wrong with the form of a request: the rules of the schema that it breaks, or the error of the parser. The
 * names of unknown fields and all values are left out, because callers can put secrets there.
 */
function whyMalformed(error: FastifyError): string[] | null {
  if (error instanceof Problem) return null
  if (!error.validation) return [error.code ?? error.name]
  return error.validation.map(({ keyword, instancePath }) => `${instancePath} ${keyword}`.trim())
}
