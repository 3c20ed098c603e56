// A stop that waits for answers, and for nothing else.
import fastifyPlugin from 'fastify-plugin'

/**
 * Once the service is told to stop, every answer ends its connection. A connection that was busy at that moment
 * would otherwise be kept alive, and the stop would wait for it until it times out.
 */
export const draining = fastifyPlugin(
  async (app) => {
    let isStopping = false
    app.addHook('preClose', async () => {
      isStopping = true
    })
    app.addHook('onSend', async (_request, reply) => {
      if (isStopping) reply.header('connection', 'close')
    })
  },
  { name: 'draining' }
)
