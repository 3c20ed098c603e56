// The longest that anyone waits for an answer, whatever their request waits for.
import fastifyPlugin from 'fastify-plugin'
import { unavailable } from '../wire/problem.ts'
import { sendProblem } from './problem-handling.ts'

export interface DeadlineOptions {
  withinMs: number
}

/**
 * Answers 503 when no answer has begun in time; whether the act was done is not known then. Fastify's own
 * `handlerTimeout` would abort a signal after every request, which is a tenth of what a request costs.
 */
export const deadline = fastifyPlugin<DeadlineOptions>(
  async (app, { withinMs }) => {
    app.addHook('onRequest', (request, reply, done) => {
      const timer = setTimeout(() => {
        if (reply.raw.headersSent) return
        const problem = unavailable()
        request.log.error({ code: problem.code, withinMs }, 'request was not answered in time')
        sendProblem(request, reply, problem)
      }, withinMs)
      // When it is answered, and when they hang up.
      reply.raw.once('close', () => clearTimeout(timer))
      done()
    })
  },
  { name: 'deadline' }
)
