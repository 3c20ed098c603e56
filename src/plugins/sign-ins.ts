// The answers that end a step: one union, made in one place, so that every route says the same.
import type { FastifyRequest } from 'fastify'
import type { Authentication } from '../core/claims.ts'
import { decide } from '../core/policy.ts'
import type { AuditEvents } from '../data/audit-events.ts'
import type { Subject } from '../data/subjects.ts'
import type { Users } from '../data/users.ts'
import type { SignIn } from '../schemas.ts'
import type { Act, Audit } from './audit.ts'
import type { Tokens } from './tokens.ts'

type Authenticated = Extract<SignIn, { status: 'authenticated' }>

export interface SignIns {
  /** What a right first step leads to, by the account's policy: an access token, or a step token. Puts it on record. */
  afterFirstStep(
    request: FastifyRequest,
    subject: Subject,
    authentication: Authentication,
    act: Act
  ): Promise<SignIn>
  /** The end of a sign-in. */
  authenticated(
    subject: Subject,
    authentication: Authentication,
    reason: Authenticated['reason']
  ): Authenticated
}

export function createSignIns({
  tokens,
  users,
  audit,
  auditEvents
}: {
  tokens: Tokens
  users: Users
  audit: Audit
  auditEvents: AuditEvents
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

  return {
    authenticated,

    async afterFirstStep(request, subject, authentication, act) {
      const { policy, authenticators } = subject
      const { outcome, reason } = decide({
        policy,
        user: { hasAuthenticator: authenticators.length > 0 }
      })
      const event = audit.succeeded(request, { ...act, details: { next: outcome, why: reason } })
      await (outcome === 'authenticated'
        ? users.noteSignIn(subject, event)
        : auditEvents.record(event))
      switch (outcome) {
        case 'authenticated':
          return authenticated(subject, authentication, reason)
        case 'verification_required':
          return {
            status: outcome,
            reason,
            ...tokens.issueStepToken(subject, 'verify', authentication.amr),
            methods: ['totp', 'recovery_code']
          }
        case 'enrollment_required':
          return {
            status: outcome,
            reason,
            ...tokens.issueStepToken(subject, 'enroll', authentication.amr)
          }
      }
    }
  }
}
