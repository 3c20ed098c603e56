// Decides how a request is counted: by its act, its audit event and the problem in its response. Routes do not know that
// they are counted.
import type { FastifyRequest } from 'fastify'
import type { AuditType, SignedAuditEvent } from '../../core/audit/events.ts'
import type { Problem } from '../../wire/problem.ts'

type Path = 'code' | 'recovery_code' | 'enrollment'

interface Step {
  step: string
  /** The reason of a success, if the audit event contains none. */
  reason?: string
  path?: Path
}

/** The acts that are steps of a sign-in. */
const STEPS: Partial<Record<AuditType, Step>> = {
  'sign_in.password': { step: 'password' },
  'sign_in.assert': { step: 'assertion' },
  'sign_in.sso': { step: 'sso' },
  'sign_in.code': { step: 'code', reason: 'code_verified', path: 'code' },
  'sign_in.recovery_code': {
    step: 'recovery_code',
    reason: 'recovery_code_verified',
    path: 'recovery_code'
  },
  'authenticator.confirm': { step: 'enrollment', reason: 'enrolled', path: 'enrollment' }
}

/** The problems that are verdicts on a code. A code is not judged if its path is closed or its budget is spent. */
const VERDICTS: Record<string, string> = {
  'code-rejected': 'rejected',
  'too-many-attempts': 'not_judged',
  'authenticator-disabled': 'not_judged',
  'enrollment-expired': 'not_judged'
}

export interface Counts {
  act?: { act: AuditType; outcome: string; reason: string }
  signInStep?: { step: string; outcome: string; reason: string }
  codeVerdict?: { path: Path; verdict: string }
  pathClosing?: { path: Path; state: 'locked' | 'disabled' }
}

type Counted = Pick<FastifyRequest, 'act' | 'auditEvent' | 'problem' | 'routeOptions'>

/** Returns the counts for a request with this status of its response; none if the request was no act. */
export function countsOf(request: Counted, status: number): Counts {
  const { auditEvent, problem } = request
  const tried = request.act ?? request.routeOptions.config.act
  if (!tried) return {}
  const done = { outcome: outcomeOf(problem, status), reason: problem?.code ?? '' }
  const counts: Counts = { act: { act: auditEvent?.type ?? tried, ...done } }
  const step = STEPS[tried]
  if (!step) return counts
  counts.signInStep = { step: step.step, ...(problem ? done : successOf(step, auditEvent)) }
  if (!step.path) return counts
  const verdict = problem ? VERDICTS[problem.code] : 'accepted'
  if (verdict) counts.codeVerdict = { path: step.path, verdict }
  const state = problem?.code === 'code-rejected' && auditEvent ? closingBy(auditEvent) : null
  if (state) counts.pathClosing = { path: step.path, state }
  return counts
}

function outcomeOf(problem: Problem | null, status: number): string {
  if (!problem) return 'succeeded'
  return status >= 500 ? 'failed' : 'refused'
}

function successOf(
  { reason = '' }: Step,
  event: SignedAuditEvent | null
): { outcome: string; reason: string } {
  const { next = 'authenticated', why = reason } = event?.details ?? {}
  return { outcome: String(next), reason: String(why) }
}

// A lock that has ended stays in the user's state, and so in the event, until the next success.
function closingBy({ details, occurredAt }: SignedAuditEvent): 'locked' | 'disabled' | null {
  if (details?.['isDisabled'] === true) return 'disabled'
  const lockedUntil = details?.['lockedUntil']
  if (typeof lockedUntil !== 'string') return null
  return lockedUntil > occurredAt.toISOString() ? 'locked' : null
}
