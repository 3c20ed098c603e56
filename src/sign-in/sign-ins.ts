// The response of a step. It is built in one place, so that all routes return the same union.
import type { FastifyRequest } from 'fastify'
import type { Act, Audit } from '../audit/audit.ts'
import type { AuditDetails } from '../core/audit/events.ts'
import type { Authentication, SsoLink } from '../core/claims.ts'
import {
  type Arrival,
  type Decision,
  type DecisionInput,
  decide,
  enforcedFromFor
} from '../core/policy.ts'
import type { Tokens } from '../crypto/tokens.ts'
import type { Subject } from '../data/sign-in/subjects.ts'
import type { Users } from '../data/users/users.ts'
import type { SignIn } from '../wire/sign-in.ts'
import type { DeviceTrust } from './device-trust.ts'

type Authenticated = Extract<SignIn, { status: 'authenticated' }>
type Verification = Extract<SignIn, { status: 'verification_required' }>

/** How the user completed the first step. */
interface FirstStep {
  authentication: Authentication
  arrival: Arrival
  /** The token of a browser or phone that may be trusted. It is used only if a code would be required. */
  deviceToken?: string | undefined
}

export interface SignIns {
  /**
   * Returns an access token or a step token after a right first step, as the account's policy decides. Audits the step.
   * Returns null if the user was disabled, or their password changed, after they were read.
   */
  afterFirstStep(
    request: FastifyRequest,
    subject: Subject,
    firstStep: FirstStep,
    act: Act
  ): Promise<SignIn | null>
  /** Returns the response that ends a sign-in. */
  authenticated(
    subject: Subject,
    authentication: Authentication,
    reason: Authenticated['reason']
  ): Authenticated
  /** Returns a step token. The code that is verified with it links the user to the identity. */
  linkWithCode(subject: Subject, authentication: Authentication, link: SsoLink): Verification
}

export function createSignIns({
  tokens,
  users,
  deviceTrust,
  audit,
  now
}: {
  tokens: Tokens
  users: Users
  deviceTrust: DeviceTrust
  audit: Audit
  now: () => Date
}): SignIns {
  function authenticated(
    subject: Subject,
    authentication: Authentication,
    reason: Authenticated['reason']
  ): Authenticated {
    const { accountId, userId: id, email, role } = subject
    return {
      status: 'authenticated',
      reason,
      ...tokens.issueAccessToken(subject, authentication),
      tokenType: 'Bearer',
      user: { id, accountId, email, role }
    }
  }

  /** Returns null if the account trusts no devices, or not this one. */
  async function signInByDevice(
    request: FastifyRequest,
    subject: Subject,
    { authentication, deviceToken }: FirstStep,
    { decision, act }: { decision: Decision; act: Act }
  ): Promise<SignIn | null> {
    const { outcome, reason } = decision
    if (outcome !== 'authenticated' || deviceToken === undefined) return null
    const details = detailsOf(decision)
    const device = await deviceTrust.signIn(request, subject, deviceToken, { ...act, details })
    return device && { ...authenticated(subject, authentication, reason), ...device }
  }

  /**
   * Records a sign-in without a second step. Returns the date since which two-factor is enforced, if it is by the clock of
   * the database but not by that of this replica.
   */
  async function noteSignIn(
    request: FastifyRequest,
    subject: Subject,
    { decision, firstStep, act }: { decision: Decision; firstStep: FirstStep; act: Act }
  ): Promise<'noted' | 'gone' | Date> {
    const { firstFactor } = firstStep.authentication
    const enforcedFrom = firstFactor.kind === 'sso' ? null : enforcedFromFor(subject, subject)
    const event = audit.succeeded(request, { ...act, details: detailsOf(decision) })
    const noted = await users.noteSignIn(subject, event, { firstFactor, enforcedFrom })
    if (noted === 'late') return enforcedFrom ?? 'gone'
    return noted
  }

  /** Returns the response that a decision leads to. */
  function responseTo(
    decision: Decision,
    subject: Subject,
    authentication: Authentication
  ): SignIn {
    const { outcome: status, reason } = decision
    if (status === 'authenticated') {
      return { ...authenticated(subject, authentication, reason), ...recommendationOf(decision) }
    }
    return status === 'verification_required'
      ? verification(subject, authentication, reason)
      : { status, reason, ...tokens.issueStepToken(subject, 'enroll', authentication) }
  }

  function verification(
    subject: Subject,
    authentication: Authentication,
    reason: Verification['reason'],
    link?: SsoLink
  ): Verification {
    return {
      status: 'verification_required',
      reason,
      ...tokens.issueStepToken(subject, 'verify', authentication, link),
      methods: ['totp', 'recovery_code']
    }
  }

  return {
    authenticated,

    linkWithCode: (subject, authentication, link) =>
      verification(subject, authentication, 'sso_link', link),

    async afterFirstStep(request, subject, firstStep, act) {
      const { authentication } = firstStep
      const input = decisionInput(subject, firstStep, now())
      let decision = decide({ ...input, hasTrustedDevice: false })
      if (decision.outcome === 'verification_required') {
        const byDevice = decide({ ...input, hasTrustedDevice: true })
        const asked = { decision: byDevice, act }
        const signIn = await signInByDevice(request, subject, firstStep, asked)
        if (signIn) return signIn
      }
      if (decision.outcome === 'authenticated') {
        const noted = await noteSignIn(request, subject, { decision, firstStep, act })
        if (noted === 'gone') return null
        if (noted !== 'noted') decision = decide({ ...input, now: noted, hasTrustedDevice: false })
      }
      if (decision.outcome !== 'authenticated')
        await audit.recordSuccess(request, { ...act, details: detailsOf(decision) })
      return responseTo(decision, subject, authentication)
    }
  }
}

function decisionInput(
  { policy, mandate, role, requirement, authenticators }: Subject,
  { arrival }: FirstStep,
  now: Date
): Omit<DecisionInput, 'hasTrustedDevice'> {
  const user = { role, requirement, hasAuthenticator: authenticators.length > 0 }
  return { policy, mandate, arrival, now, user }
}

function detailsOf({ outcome: next, reason: why }: Decision): AuditDetails {
  return { next, why }
}

function recommendationOf(
  decision: Extract<Decision, { outcome: 'authenticated' }>
): Pick<Authenticated, 'enrollment'> {
  if (!decision.recommended) return {}
  const { requiredFrom } = decision.recommended
  return { enrollment: { recommended: true, requiredFrom: requiredFrom.toISOString() } }
}
