// What a request needs before anything else is looked at: a peer that is still connected, and a Host.
import fastifyPlugin from 'fastify-plugin'
import { Problem } from '../wire/problem.ts'

/** Rejects an HTTP/1.1 request that has no Host (RFC 9112 §3.2), and a request whose peer hung up before its address was read. */
export const peerAndHost = fastifyPlugin(
  async (app) => {
    app.addHook('onRequest', (request, _reply, done) => {
      // Node knows a peer's address only while the peer is connected. This read makes Node remember it. Without an address
      // the request can neither be counted nor audited.
      const hasAddress = request.ip !== undefined
      const hasHost = request.headers.host !== undefined || request.raw.httpVersion !== '1.1'
      if (hasAddress && hasHost) return done()
      done(new Problem('invalid-request', { extras: { errors: [] } }))
    })
  },
  { name: 'peer-and-host' }
)
