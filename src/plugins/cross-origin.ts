// CORS: which pages of other origins may call the API from a browser.
import cors from '@fastify/cors'
import fastifyPlugin from 'fastify-plugin'

export interface CrossOriginOptions {
  /** The exact origins; empty for none. */
  corsOrigins: readonly string[]
}

/** The response headers that a page may read, in addition to the few that browsers always show. */
const EXPOSED_HEADERS = [
  'ETag',
  'Retry-After',
  'RateLimit-Limit',
  'RateLimit-Remaining',
  'RateLimit-Reset',
  'WWW-Authenticate',
  'Idempotent-Replayed',
  'x-request-id'
]

/** Responds to preflight requests, and allows the listed origins. Adds nothing if no origin is listed. */
export const crossOrigin = fastifyPlugin<CrossOriginOptions>(
  async (app, { corsOrigins }) => {
    if (corsOrigins.length === 0) return
    await app.register(cors, {
      origin: [...corsOrigins],
      methods: ['GET', 'POST', 'PUT', 'PATCH', 'DELETE'],
      exposedHeaders: EXPOSED_HEADERS
    })
  },
  { name: 'cross-origin' }
)
