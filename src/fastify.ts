// Creates the Fastify instance: how large and how slow a request may be, and which requests it rejects itself.
import Fastify, { type FastifyBaseLogger, type FastifyInstance } from 'fastify'
import { generateId } from './crypto/ids.ts'
import { MALFORMED_URL, rejectMalformed } from './plugins/problem-handling.ts'

const BODY_LIMIT_BYTES = 16 * 1024
/** Above Node's own 16 KiB, so that an absurdly long token is rejected as a token and not as a header. */
const HEADERS_LIMIT_BYTES = 64 * 1024
/** A client that needs longer to send its request holds the connection on purpose (slowloris). */
const REQUEST_TIMEOUT_MS = 10_000

export interface FastifyOptions {
  logger: FastifyBaseLogger | undefined
  keepAliveSeconds: number
}

export function createFastify({ logger, keepAliveSeconds }: FastifyOptions): FastifyInstance {
  const app: FastifyInstance = Fastify({
    // Responses are not validated, but their serializer must know the formats of their schemas.
    serializerOpts: { ajv: { formats: { 'idn-email': true } } },
    ...(logger && { loggerInstance: logger }),
    genReqId: () => generateId(),
    requestIdHeader: false,
    bodyLimit: BODY_LIMIT_BYTES,
    keepAliveTimeout: keepAliveSeconds * 1000,
    requestTimeout: REQUEST_TIMEOUT_MS,
    // Requests that arrive during a stop are served (plugins/draining), not rejected without a problem document.
    return503OnClosing: false,
    clientErrorHandler: rejectMalformed,
    // plugins/peer-and-host requires a Host. Node would reject its absence without a problem document.
    http: { maxHeaderSize: HEADERS_LIMIT_BYTES, requireHostHeader: false },
    // A longer id is an invalid id. The schema of its route rejects it, after all other checks.
    routerOptions: { maxParamLength: HEADERS_LIMIT_BYTES },
    // Fastify runs no check for a URL that it can't decode. As an unknown path, such a request is counted like any other.
    frameworkErrors: (_error, request, reply) => {
      request.raw.url = MALFORMED_URL
      app.routing(request.raw, reply.raw)
    }
  })
  // plugins/peer-and-host rejects an unknown `Expect`. Node would respond itself, without a problem document.
  app.server.on('checkExpectation', (request, response) =>
    app.server.emit('request', request, response)
  )
  return app
}
