// The longest that a caller waits for a response, whatever the request waits for.
import fastifyPlugin from 'fastify-plugin'
import { unavailable } from '../wire/problem.ts'
import { sendProblem } from './problem-handling.ts'

/** Enough to wait for a connection to the database, and then for a server that does not respond (data/engine). */
export const ANSWER_WITHIN_MS = 3500

export interface DeadlineOptions {
  answerWithinMs: number
}

/**
 * Answers `unavailable` if no response has begun in time. Whether the act was done is not known then. Fastify's own
 * `handlerTimeout` would abort a signal after every request, which costs a tenth of the request.
 */
export const deadline = fastifyPlugin<DeadlineOptions>(
  async (app, { answerWithinMs }) => {
    app.addHook('onRequest', (request, reply, done) => {
      const timer = setTimeout(() => {
        if (reply.raw.headersSent) return
        const problem = unavailable()
        request.log.error({ code: problem.code, answerWithinMs }, 'request deadline exceeded')
        sendProblem(request, reply, problem)
      }, answerWithinMs)
      // After the response, and also if the client hangs up.
      reply.raw.once('close', () => clearTimeout(timer))
      done()
    })
  },
  { name: 'deadline' }
)
