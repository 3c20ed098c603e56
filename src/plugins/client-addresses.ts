// The address of the client, in one spelling for limits, audit events, mails and logs.
import type { IncomingMessage } from 'node:http'
import type { FastifyBaseLogger, FastifyRequest } from 'fastify'
import fastifyPlugin from 'fastify-plugin'
import { clientAddress, createNetworkList } from '../core/input/client-addresses.ts'

declare module 'fastify' {
  interface FastifyRequest {
    /** The normalized address of the client; empty if the peer hung up before its address was read. */
    readonly clientAddress: string
  }
}

export interface ClientAddressesOptions {
  /** The addresses and networks whose `X-Forwarded-For` is trusted. */
  trustedProxies: readonly string[]
}

/** Adds the client's address to requests. It is read once, because Node knows it only while the peer is connected. */
export const clientAddresses = fastifyPlugin<ClientAddressesOptions>(
  async (app, { trustedProxies }) => {
    const isTrusted = createNetworkList(trustedProxies)
    const known = new WeakMap<IncomingMessage, string>()
    const noteIgnored = createNote(app.log)

    app.decorateRequest('clientAddress', {
      getter(this: FastifyRequest) {
        const address = known.get(this.raw) ?? read(this.raw)
        known.set(this.raw, address)
        return address
      }
    })

    function read({ socket, headers }: IncomingMessage): string {
      const peer = socket.remoteAddress ?? ''
      const forwarded = String(headers['x-forwarded-for'] ?? '')
      const address = clientAddress(peer, forwarded, isTrusted)
      if (forwarded !== '' && !isTrusted(clientAddress(peer, '', isTrusted))) noteIgnored(address)
      return address
    }
  },
  { name: 'client-addresses' }
)

/** Behind a proxy that is not listed, all clients share one limit. Only the log can show this. Once is enough. */
function createNote(log: FastifyBaseLogger): (peer: string) => void {
  let isNoted = false
  return (peer) => {
    if (isNoted) return
    isNoted = true
    log.warn(
      { peer, setting: 'TRUSTED_PROXIES' },
      'X-Forwarded-For ignored: the peer is not a trusted proxy'
    )
  }
}
