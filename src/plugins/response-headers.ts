// The headers that every response carries, whatever else happens to the request.
import fastifyPlugin from 'fastify-plugin'

/**
 * OWASP REST Security Cheat Sheet. Nearly every response holds a credential or personal data, so none is cached. The
 * routes whose responses may be cached, and the pages under /docs, set their own headers.
 */
const SECURITY_HEADERS = {
  'cache-control': 'no-store',
  'content-security-policy': "default-src 'none';frame-ancestors 'none'",
  'cross-origin-resource-policy': 'same-origin',
  'referrer-policy': 'no-referrer',
  'strict-transport-security': 'max-age=31536000; includeSubDomains',
  'x-content-type-options': 'nosniff',
  'x-frame-options': 'DENY'
}

/** Sets the request's id and the security headers before any check, so that refusals carry them too. */
export const responseHeaders = fastifyPlugin(
  async (app) => {
    app.addHook('onRequest', (request, reply, done) => {
      reply.header('x-request-id', request.id).headers(SECURITY_HEADERS)
      done()
    })
  },
  { name: 'response-headers' }
)
