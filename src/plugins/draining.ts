// A stop that waits for current requests, and not for idle connections.
import fastifyPlugin from 'fastify-plugin'

export interface DrainingOptions {
  /** Aborted when the stop begins. The service may still serve requests for a while. */
  stopping: AbortSignal
}

/**
 * Closes every connection with its next response once the stop has begun, so that clients connect to another replica. A
 * connection that stays open could be closed just when a client sends a request, and a busy one would delay the stop until
 * it times out.
 */
export const draining = fastifyPlugin<DrainingOptions>(
  async (app, { stopping }) => {
    let isClosing = false
    app.addHook('preClose', async () => {
      isClosing = true
    })
    app.addHook('onSend', async (_request, reply) => {
      if (isClosing || stopping.aborted) reply.header('connection', 'close')
    })
  },
  { name: 'draining' }
)
