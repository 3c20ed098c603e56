// Whether a route accepts a verified credential: its kind and scope, then the role of its holder, then how fresh the
// sign-in is. The order is part of the contract.
import type { FastifyRequest } from 'fastify'
import fastifyPlugin from 'fastify-plugin'
import { isFresh, isRecent } from '../../core/claims.ts'
import { type SessionEnd, sessionEnd } from '../../core/sessions.ts'
import type { Subject } from '../../data/sign-in/subjects.ts'
import { Problem, stepUpRequired } from '../../wire/problem.ts'
import type { AccessTokenHolder, Credential, CredentialRule, Freshness } from '../credentials.ts'
import { invalidCredential, ruleOf } from './bearer.ts'

type AccessToken = Extract<Credential, { kind: 'accessToken' }>
type AccessTokenRule = NonNullable<CredentialRule['accessToken']>

/** Throws `insufficient-scope` for a kind or scope that the route does not accept. */
export const kindAndScope = fastifyPlugin(
  async (app) => {
    app.addHook('onRequest', (request, _reply, done) => {
      const rule = ruleOf(request)
      const { credential } = request
      if (!rule || !credential || isAccepted(rule, credential)) return done()
      // On any other route than its own, a step token is no credential at all.
      done(
        credential.kind === 'step' ? invalidCredential(request) : new Problem('insufficient-scope')
      )
    })
  },
  { name: 'kind-and-scope', dependencies: ['bearer-tokens'] }
)

/** Throws `limited-access` for a user whom the route is not for. */
export const role = fastifyPlugin(
  async (app) => {
    app.addHook('onRequest', (request, _reply, done) => {
      const presented = accessTokenOf(request)
      if (!presented) return done()
      const { rule, token } = presented
      done(
        isHolder(request, rule.holder, token.subject) ? undefined : new Problem('limited-access')
      )
    })
  },
  { name: 'role', dependencies: ['kind-and-scope'] }
)

export interface FreshnessOptions {
  sessionMaxSeconds: number
  now: () => Date
}

/**
 * Throws `step-up-required` if the route requires a fresher or stronger sign-in, or if it would extend a session that has
 * ended.
 */
export const freshness = fastifyPlugin<FreshnessOptions>(
  async (app, { sessionMaxSeconds: maxSeconds, now }) => {
    app.addHook('onRequest', (request, _reply, done) => {
      const presented = accessTokenOf(request)
      if (!presented) return done()
      const { rule, token } = presented
      const at = now()
      const { firstFactor, subject } = token
      const end = sessionEnd(firstFactor, subject.policy.sso, { maxSeconds, now: at })
      if (end && isRejectedBy(rule, end)) return done(stepUpRequired('login'))
      const fresh = freshnessOf(request, presented)
      const next = fresh ? missingStep(fresh, token, at) : null
      // No step-up extends a session that has ended.
      done(next ? stepUpRequired(end ? 'login' : next) : undefined)
    })
  },
  { name: 'freshness', dependencies: ['role'] }
)

function isAccepted(rule: CredentialRule, credential: Credential): boolean {
  switch (credential.kind) {
    case 'operator':
      return rule.operator === true
    case 'apiKey':
      return rule.apiKey?.some((scope) => credential.scopes.includes(scope)) ?? false
    case 'step':
      return rule.step === credential.claims.purpose
    case 'accessToken':
      return rule.accessToken !== undefined
  }
}

interface PresentedToken {
  rule: AccessTokenRule
  token: AccessToken
}

function accessTokenOf(request: FastifyRequest): PresentedToken | null {
  const { credential } = request
  const rule = ruleOf(request)?.accessToken
  return rule && credential?.kind === 'accessToken' ? { rule, token: credential } : null
}

function isHolder(request: FastifyRequest, holder: AccessTokenHolder, subject: Subject): boolean {
  const isAdmin = subject.role === 'admin'
  switch (holder) {
    case 'anyone':
      return true
    case 'admin':
      return isAdmin
    case 'self':
      return isSelf(request, subject)
    case 'self-or-admin':
      return isAdmin || isSelf(request, subject)
  }
}

function isSelf(request: FastifyRequest, subject: Subject): boolean {
  const { userId } = request.params as { userId?: string }
  return userId === 'me' || userId?.toLowerCase() === subject.userId
}

/** Returns the freshness that the route requires of this user; undefined for none. */
function freshnessOf(
  request: FastifyRequest,
  { rule: { fresh }, token }: PresentedToken
): Freshness | undefined {
  if (typeof fresh !== 'object') return fresh
  return isSelf(request, token.subject) ? fresh.self : fresh.others
}

/** Returns whether the route extends sessions, and rejects a session that has ended for this reason. */
function isRejectedBy({ extends: extension }: AccessTokenRule, end: SessionEnd): boolean {
  return extension === 'by-code' || (extension === 'by-set-up' && end !== 'sso_required')
}

/** Returns what the user must do before the request; null if the sign-in is fresh enough. */
function missingStep(
  fresh: Freshness,
  { claims, subject }: AccessToken,
  now: Date
): 'verify' | 'enroll' | 'login' | null {
  const isEnough = fresh === 'recent' ? isRecent : isFresh
  if (isEnough(claims, now)) return null
  const hasAuthenticator = subject.authenticators.length > 0
  if (hasAuthenticator) return 'verify'
  if (!isRecent(claims, now)) return 'login'
  return fresh === 'enrolling' ? null : 'enroll'
}
