// A stop that waits for answers, and for nothing else.
import fastifyPlugin from 'fastify-plugin'

export interface DrainingOptions {
  /** Aborted once the service is told to stop, be it that it goes on answering for a while. */
  stopping: AbortSignal
}

/**
 * Once the service is told to stop, every answer ends its connection: whoever sends more asks another replica then. A
 * connection that is kept alive would be closed in the middle of a request that has just been sent, and one that was
 * busy would hold up the stop until it times out.
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
