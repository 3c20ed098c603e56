// A stop that loses no request: it waits for current requests, and for clients that may still use an idle connection.
import { once } from 'node:events'
import { type AddressInfo, connect, Server, type Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import fastifyPlugin from 'fastify-plugin'
import type { Config } from '../settings/config.ts'

export interface DrainingOptions {
  /** Aborted when the stop begins. With a shutdown delay, the service still serves requests for this time. */
  stopping: AbortSignal
  config: Pick<Config, 'shutdownDelaySeconds'>
}

/** Under load, a proxy uses each of its idle connections within a second. This leaves a margin. */
const IDLE_GRACE_MS = 2000
/** Where a server that listens at all addresses is reached. */
const LOOPBACK_OF: Record<string, string> = { '0.0.0.0': '127.0.0.1', '::': '::1' }

/**
 * Closes every connection with its next response once the service has stopped listening, so that clients connect to another
 * replica. A busy connection that stays open would delay the stop until it times out. Not earlier: a proxy would open a new
 * connection for each request, and the system resets a connection that arrives as the service stops listening.
 *
 * If the deployment has a shutdown delay, the close begins with two steps. First the service stops listening, so that a
 * proxy sends new connections elsewhere. Then idle connections stay open for two seconds: a proxy sends its next request on
 * one of them, and must not find it closed (RFC 9112 §9.5).
 */
export const draining = fastifyPlugin<DrainingOptions>(
  async (app, { stopping, config }) => {
    let isClosing = false
    const hasDelay = () => config.shutdownDelaySeconds > 0
    const sockets = new Set<Socket>()
    app.addHook('onReady', async () => {
      app.server.on('connection', (socket: Socket) => {
        sockets.add(socket)
        socket.once('close', () => sockets.delete(socket))
      })
    })
    app.addHook('preClose', async () => {
      const server: Server = app.server
      isClosing = true
      if (!server.listening) return
      if (hasDelay()) await stopListening(server)
      // Node itself closes idle connections, but waits for a connection on which nothing has arrived yet.
      for (const socket of sockets) if (socket.bytesRead === 0) socket.destroy()
    })
    app.addHook('onSend', async (_request, reply) => {
      if (isClosing || (stopping.aborted && !hasDelay())) reply.header('connection', 'close')
    })
  },
  { name: 'draining' }
)

/** Stops listening and resolves when all connections are closed, or after the grace period. */
async function stopListening(server: Server): Promise<void> {
  const over = new AbortController()
  const { signal } = over
  const closed = once(server, 'close', { signal })
  await closeAfterTheQueue(server)
  await Promise.race([closed, sleep(IDLE_GRACE_MS, null, { signal })]).finally(() => over.abort())
}

/**
 * Closes the listening socket while the queue of connections that the system has accepted for it is empty: the system would
 * reset those. The queue is in order, so a connection of our own is the last one in it for an instant.
 */
async function closeAfterTheQueue(server: Server): Promise<void> {
  const { address, port } = server.address() as AddressInfo
  const own = connect(port, LOOPBACK_OF[address] ?? address)
  await new Promise<void>((resolve) => {
    const close = () => {
      server.off('connection', onConnection)
      // The method of an HTTP server would close idle connections too.
      Server.prototype.close.call(server)
      resolve()
    }
    const onConnection = ({ remotePort }: Socket) => {
      if (remotePort === own.localPort) close()
    }
    server.prependListener('connection', onConnection)
    own.once('error', close)
  })
  own.destroy()
}
