// Creates the Fastify instance: how large and how slow a request may be, and what is rejected before any check.
import Fastify, { type FastifyBaseLogger, type FastifyInstance } from 'fastify'
import { generateId } from './crypto/ids.ts'
import { rejectMalformed, sendProblem } from './plugins/problem-handling.ts'
import { Problem } from './wire/problem.ts'

const BODY_LIMIT_BYTES = 16 * 1024
/** Above Node's own 16 KiB, so that an absurdly long token is rejected as a token and not as a header. */
const HEADERS_LIMIT_BYTES = 64 * 1024
/** A client that needs longer to send its request holds the connection on purpose (slowloris). */
const REQUEST_TIMEOUT_MS = 10_000

export interface FastifyOptions {
  logger: FastifyBaseLogger | undefined
  /** The addresses whose `X-Forwarded-For` is believed. */
  trustedProxies: readonly string[]
}

export function createFastify({ logger, trustedProxies }: FastifyOptions): FastifyInstance {
  return Fastify({
    ...(logger && { loggerInstance: logger }),
    genReqId: () => generateId(),
    requestIdHeader: false,
    bodyLimit: BODY_LIMIT_BYTES,
    requestTimeout: REQUEST_TIMEOUT_MS,
    // Requests that arrive during a stop are served (plugins/draining), not rejected without a problem document.
    return503OnClosing: false,
    clientErrorHandler: rejectMalformed,
    // plugins/peer-and-host requires a Host. Node would reject its absence without a problem document.
    http: { maxHeaderSize: HEADERS_LIMIT_BYTES, requireHostHeader: false },
    trustProxy: trustedProxies.length > 0 ? [...trustedProxies] : false,
    frameworkErrors: (error, request, reply) => {
      request.log.info({ code: error.code }, 'request refused')
      sendProblem(request, reply, new Problem('invalid-request', { extras: { errors: [] } }))
    }
  })
}
