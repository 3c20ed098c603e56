// Counts each request when its response is built. That includes clients that hang up before it is sent. Fastify's onResponse
// does not run for them, so an attacker could hide guesses.
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import type { Instruments } from './instruments.ts'
import { countsOf } from './outcomes.ts'

/** The label of all paths that have no route. */
const UNKNOWN_ROUTE = 'unknown'
const METHODS: ReadonlySet<string> = new Set([
  'GET',
  'HEAD',
  'POST',
  'PUT',
  'PATCH',
  'DELETE',
  'OPTIONS'
])

type Counters = Pick<
  Instruments,
  'requestDuration' | 'acts' | 'signInSteps' | 'codeVerdicts' | 'pathClosings'
>

export function countRequests(app: FastifyInstance, counters: Counters): void {
  startFromZero(counters)
  app.addHook('onSend', (request, reply, _payload, done) => {
    const { requestDuration, acts, signInSteps, codeVerdicts, pathClosings } = counters
    requestDuration.observe(labelsOf(request, reply), reply.elapsedTime / 1000)
    const { act, signInStep, codeVerdict, pathClosing } = countsOf(request, reply.statusCode)
    if (act) acts.inc(act)
    if (signInStep) signInSteps.inc(signInStep)
    if (codeVerdict) codeVerdicts.inc(codeVerdict)
    if (pathClosing) pathClosings.inc(pathClosing)
    done()
  })
}

function labelsOf({ method, routeOptions }: FastifyRequest, { statusCode: status }: FastifyReply) {
  return {
    method: METHODS.has(method) ? method : 'other',
    route: routeOptions.url ?? UNKNOWN_ROUTE,
    status
  }
}

// `rate` sees no increase in a counter that appears with its first event. So counters start with zero.
function startFromZero({ codeVerdicts, pathClosings }: Counters): void {
  for (const path of ['code', 'recovery_code', 'enrollment']) {
    for (const verdict of ['accepted', 'rejected', 'not_judged']) {
      codeVerdicts.inc({ path, verdict }, 0)
    }
  }
  for (const path of ['code', 'recovery_code']) pathClosings.inc({ path, state: 'locked' }, 0)
  pathClosings.inc({ path: 'code', state: 'disabled' }, 0)
}
