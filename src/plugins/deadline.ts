// The longest that anyone waits for an answer, whatever their request waits for.
import fastifyPlugin from 'fastify-plugin'
import { Problem } from '../problems.ts'
import { sendProblem } from './problem-handling.ts'

declare module 'fastify' {
  interface FastifyRequest {
    deadline: NodeJS.Timeout | null
  }
}

export interface DeadlineOptions {
  withinMs: number
}

/**
 * Answers 503 when a request has no answer in time; whether its act was done is not known then. Fastify's own
 * `handlerTimeout` does the same, and aborts a signal after every request, which is a tenth of what a request costs.
 */
export const deadline = fastifyPlugin<DeadlineOptions>(
  async (app, { withinMs }) => {
    app.decorateRequest('deadline', null)
    app.addHook('onRequest', (request, reply, done) => {
      request.deadline = setTimeout(() => {
        // A long answer that has begun is one.
        if (reply.sent || reply.raw.headersSent) return
        request.log.error({ withinMs }, 'request was not answered in time')
        sendProblem(request, reply, new Problem('unavailable', { headers: { 'retry-after': '1' } }))
      }, withinMs)
      done()
    })
    app.addHook('onResponse', (request, _reply, done) => {
      clearTimeout(request.deadline ?? undefined)
      done()
    })
  },
  { name: 'deadline' }
)
