// A stop that loses no request: it waits for current requests, and for clients that may still use an idle connection.
import { once } from 'node:events'
import { Server, type Socket } from 'node:net'
import { setImmediate as nextTurn, setTimeout as sleep } from 'node:timers/promises'
import fastifyPlugin from 'fastify-plugin'
import type { Config } from '../settings/config.ts'

export interface DrainingOptions {
  /** Aborted when the stop begins. The service may still serve requests for a while. */
  stopping: AbortSignal
  config: Pick<Config, 'shutdownDelaySeconds'>
}

/** Under load, a proxy uses each of its idle connections within a second. This leaves a margin. */
const IDLE_GRACE_MS = 2000
/** A turn of the event loop that is this short has done nothing. A new connection in this time is unlikely. */
const QUIET_TURN_MS = 0.1
/** A loaded process may have no quiet turn. */
const QUIET_WITHIN_MS = 1000

/**
 * Closes every connection with its next response once the stop has begun, so that clients connect to another replica. A
 * busy connection that stays open would delay the stop until it times out.
 *
 * If the deployment has a shutdown delay, the close begins with two steps. First the service stops listening, so that a
 * proxy sends new connections elsewhere. Then idle connections stay open for two seconds: a proxy sends its next request on
 * one of them, and must not find it closed (RFC 9112 §9.5).
 */
export const draining = fastifyPlugin<DrainingOptions>(
  async (app, { stopping, config }) => {
    let isClosing = false
    const sockets = new Set<Socket>()
    app.addHook('onReady', async () => {
      app.server.on('connection', (socket: Socket) => {
        sockets.add(socket)
        socket.once('close', () => sockets.delete(socket))
      })
    })
    app.addHook('preClose', async () => {
      isClosing = true
      const server: Server = app.server
      if (!server.listening) return
      if (config.shutdownDelaySeconds > 0) {
        await untilQuiet(server)
        await stopListening(server)
      }
      // Node itself closes idle connections, but waits for a connection on which nothing has arrived yet.
      for (const socket of sockets) if (socket.bytesRead === 0) socket.destroy()
    })
    app.addHook('onSend', async (_request, reply) => {
      if (isClosing || stopping.aborted) reply.header('connection', 'close')
    })
  },
  { name: 'draining' }
)

/**
 * Resolves just after the event loop has found no new connection. The system has already accepted the connections that wait
 * for the process, and resets them when it stops listening.
 */
async function untilQuiet(server: Server): Promise<void> {
  const startedAt = performance.now()
  let isQuiet = false
  const onConnection = () => {
    isQuiet = false
  }
  server.on('connection', onConnection)
  for (let now = startedAt; !isQuiet && now - startedAt < QUIET_WITHIN_MS; ) {
    isQuiet = true
    const before = now
    await nextTurn()
    now = performance.now()
    if (now - before > QUIET_TURN_MS) isQuiet = false
  }
  server.off('connection', onConnection)
}

/** Stops listening and resolves when all connections are closed, or after the grace period. */
async function stopListening(server: Server): Promise<void> {
  const over = new AbortController()
  const { signal } = over
  const closed = once(server, 'close', { signal })
  // The method of an HTTP server would close idle connections too.
  Server.prototype.close.call(server)
  await Promise.race([closed, sleep(IDLE_GRACE_MS, null, { signal })]).finally(() => over.abort())
}
