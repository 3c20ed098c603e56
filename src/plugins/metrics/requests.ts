// Counts each request when its response is built. That includes clients that hang up before it is sent. Fastify's onResponse
// does not run for them, so an attacker could hide guesses.
import type { FastifyInstance, FastifyRequest } from 'fastify'
import { AUDIT_TYPES } from '../../core/audit/events.ts'
import type { Instruments } from './instruments.ts'
import { countsOf } from './outcomes.ts'

/** The label of all paths that have no route. */
const UNKNOWN_ROUTE = 'unknown'
const OTHER_METHOD = 'other'
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
  'requestDuration' | 'faults' | 'acts' | 'signInSteps' | 'codeVerdicts' | 'pathClosings'
>

export function countRequests(app: FastifyInstance, counters: Counters): void {
  startFromZero(counters)
  app.addHook('onRoute', ({ method, url: route }) => {
    for (const one of [method].flat()) counters.faults.inc({ method: one, route }, 0)
  })
  app.addHook('onSend', (request, reply, _payload, done) => {
    const { requestDuration, faults, acts, signInSteps, codeVerdicts, pathClosings } = counters
    const labels = labelsOf(request)
    const status = reply.statusCode
    requestDuration.observe({ ...labels, status }, reply.elapsedTime / 1000)
    if (status === 500) faults.inc(labels)
    const { act, signInStep, codeVerdict, pathClosing } = countsOf(request, status)
    if (act) acts.inc(act)
    if (signInStep) signInSteps.inc(signInStep)
    if (codeVerdict) codeVerdicts.inc(codeVerdict)
    if (pathClosing) pathClosings.inc(pathClosing)
    done()
  })
}

function labelsOf({ method, routeOptions }: FastifyRequest) {
  return {
    method: METHODS.has(method) ? method : OTHER_METHOD,
    route: routeOptions.url ?? UNKNOWN_ROUTE
  }
}

// Prometheus sees no increase in a counter that appears with its first event. So the counters of the alerts start with zero.
function startFromZero(counters: Counters): void {
  const { faults, acts, signInSteps, codeVerdicts, pathClosings } = counters
  for (const method of [...METHODS, OTHER_METHOD]) faults.inc({ method, route: UNKNOWN_ROUTE }, 0)
  for (const act of AUDIT_TYPES) acts.inc({ act, outcome: 'succeeded', reason: '' }, 0)
  signInSteps.inc({ step: 'password', outcome: 'refused', reason: 'invalid-credentials' }, 0)
  for (const path of ['code', 'recovery_code', 'enrollment']) {
    for (const verdict of ['accepted', 'rejected', 'not_judged']) {
      codeVerdicts.inc({ path, verdict }, 0)
    }
  }
  for (const path of ['code', 'recovery_code']) pathClosings.inc({ path, state: 'locked' }, 0)
  pathClosings.inc({ path: 'code', state: 'disabled' }, 0)
}
