// What a request needs before anything else is looked at: a peer that is still connected, one Host, and no expectation that
// the service can't meet.
import type { FastifyRequest } from 'fastify'
import fastifyPlugin from 'fastify-plugin'
import { Problem } from '../wire/problem.ts'
import type { Limits } from './limits.ts'

/**
 * Rejects a request without exactly one Host (RFC 9112 §3.2), with an unknown `Expect`, or whose peer hung up before its
 * address was read. Every other rejection here is counted, because the address limit comes later.
 */
export const peerAndHost = fastifyPlugin<{ limits: Limits }>(
  async (app, { limits }) => {
    app.addHook('onRequest', (request, reply, done) => {
      // Without an address the request can neither be counted nor audited.
      if (request.clientAddress === '') return done(malformed())
      const problem = flawOf(request)
      if (!problem) return done()
      limits.spendAddress(request, reply).then(() => done(problem), done)
    })
  },
  { name: 'peer-and-host', dependencies: ['client-addresses'] }
)

function flawOf({ raw }: FastifyRequest): Problem | null {
  // RFC 9110 §10.1.1: HTTP/1.0 has no expectations.
  if (raw.httpVersion !== '1.1') return null
  // Node keeps only the first of several Host headers. A proxy may have read another one.
  const hosts = raw.rawHeaders.filter((name, at) => at % 2 === 0 && name.toLowerCase() === 'host')
  if (hosts.length !== 1) return malformed()
  const { expect = '100-continue' } = raw.headers
  return expect.toLowerCase() === '100-continue' ? null : new Problem('expectation-failed')
}

function malformed(): Problem {
  return new Problem('invalid-request', { extras: { errors: [] } })
}
