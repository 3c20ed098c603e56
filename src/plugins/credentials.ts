// Who is calling, and whether this route is for them. Each route declares its rule in `config.credentials`; this
// plugin is the only place that reads `Authorization`, and it answers before the body is even parsed.
import type { FastifyContextConfig, FastifyReply, FastifyRequest, RouteOptions } from 'fastify'
import fastifyPlugin from 'fastify-plugin'
import { isSecretOf, parseBearerKey, type Scope } from '../core/bearer-keys.ts'
import {
  type AccessClaims,
  FRESH_SECONDS,
  isFresh,
  isRecent,
  type StepClaims,
  type StepPurpose
} from '../core/claims.ts'
import type { Tokens } from '../crypto/tokens.ts'
import type { ApiKeys } from '../data/accounts/api-keys.ts'
import type { Subject, Subjects } from '../data/sign-in/subjects.ts'
import type { StepTokenKey } from '../data/sign-in/verdicts.ts'
import { Problem } from '../wire/problem.ts'
import type { Limits } from './limits.ts'

export type AccessTokenHolder = 'anyone' | 'admin' | 'self' | 'self-or-admin'

/** What a route takes; a kind that is not named is refused. */
export interface CredentialRule {
  operator?: true
  /** Any one of these scopes. */
  apiKey?: readonly Scope[]
  step?: StepPurpose
  accessToken?: {
    holder: AccessTokenHolder
    /**
     * `second-factor`: shown at most ten minutes ago. `enrolling`: the same, but while no authenticator is active a
     * password sign-in of that age will do.
     */
    fresh?: 'second-factor' | 'enrolling'
  }
}

/** Who has called. The account comes from here and from nowhere else. */
export type Credential =
  | { kind: 'operator'; id: string }
  | { kind: 'apiKey'; id: string; accountId: string; scopes: readonly string[] }
  | {
      kind: 'step'
      claims: StepClaims
      accountId: string
      subject: Subject
      /** What its success uses up. */
      stepToken: StepTokenKey
    }
  | {
      kind: 'accessToken'
      claims: AccessClaims
      accountId: string
      subject: Subject
      stepToken: null
    }

declare module 'fastify' {
  interface FastifyContextConfig {
    /** Who may call; `none` for everyone. Every route has one. */
    credentials?: CredentialRule | 'none'
  }
  interface FastifyRequest {
    credential: Credential | null
    /** The verified credential, of one of the kinds that the route's rule takes. */
    credentialOf<Kind extends Credential['kind']>(
      ...kinds: Kind[]
    ): Extract<Credential, { kind: Kind }>
  }
}

export interface CredentialsOptions {
  operatorKey: { id: string; secretHash: Uint8Array }
  apiKeys: ApiKeys
  subjects: Subjects
  tokens: Tokens
  limits: Limits
  now: () => Date
}

export const credentials = fastifyPlugin<CredentialsOptions>(
  async (app, { operatorKey, apiKeys, subjects, tokens, limits, now }) => {
    app.decorateRequest('credential', null)
    app.decorateRequest('act', null)
    app.decorateRequest('auditEvent', null)
    app.decorateRequest('credentialOf', function credentialOf<
      Kind extends Credential['kind']
    >(this: FastifyRequest, ...kinds: Kind[]) {
      const { credential } = this
      if (!credential || !kinds.some((kind) => kind === credential.kind)) {
        throw new Error(`${this.routeOptions.url} must declare the credentials that it reads`)
      }
      return credential as Extract<Credential, { kind: Kind }>
    })

    const routes: RouteOptions[] = []
    app.addHook('onRoute', (route) => {
      routes.push(route)
    })
    app.addHook('onReady', async () => {
      const open = routes.filter(({ config }) => !isDeclared(config))
      if (open.length === 0) return
      const names = open.map(({ method, url }) => `${method} ${url}`).join(', ')
      throw new Error(
        `${names} must say who may call (config.credentials), how often (config.limit), and what that is on record (config.act)`
      )
    })

    // The order of the checks is part of the contract: 429, 401, 403, then the step-up challenge.
    app.addHook('onRequest', async (request, reply) => {
      const { credentials: rule = 'none', limit } = request.routeOptions.config
      const credential = await countAndRead(
        request,
        reply,
        rule === 'none' ? null : bearerOf(request)
      )
      if (rule === 'none') return
      if (!credential) throw invalidCredential(request)
      if (limit === 'codes' && 'subject' in credential) {
        await limits.spendUser(request, reply, credential.subject.userId)
      }
      // Before it is admitted, since a refusal is put on record with whoever was refused.
      request.credential = credential
      admit(request, rule, credential)
    })

    // A live key speaks for a back end with many users; everyone else is counted before they are heard.
    async function countAndRead(
      request: FastifyRequest,
      reply: FastifyReply,
      bearer: string | null
    ): Promise<Credential | null> {
      const key = bearer === null ? null : await readBearerKey(request, bearer)
      if (key) return key
      if (request.routeOptions.config.limit !== 'none') await limits.spendAddress(request, reply)
      return bearer === null ? null : readToken(request, bearer)
    }

    async function readToken(request: FastifyRequest, bearer: string): Promise<Credential | null> {
      return (await readStepToken(request, bearer)) ?? (await readAccessToken(request, bearer))
    }

    async function readBearerKey(
      request: FastifyRequest,
      bearer: string
    ): Promise<Credential | null> {
      const key = parseBearerKey(bearer)
      if (!key) return null
      if (key.kind === 'operator') {
        const isOperator =
          isSecretOf(key.secret, operatorKey.secretHash) && key.id === operatorKey.id
        return isOperator ? { kind: 'operator', id: key.id } : null
      }
      const stored = await apiKeys.findWithHash(key.id)
      const isLive = stored && isSecretOf(key.secret, stored.secretHash)
      if (!isLive || (stored.expiresAt && stored.expiresAt <= now())) return null
      // After the answer and at its leisure: that a key was used must not slow the use down.
      apiKeys.noteUse(stored, now()).catch((error) => request.log.warn(error, 'key use not noted'))
      const { accountId, id, scopes } = stored
      return { kind: 'apiKey', accountId, id, scopes }
    }

    async function readStepToken(
      request: FastifyRequest,
      bearer: string
    ): Promise<Credential | null> {
      const claims = await tokens.readStepToken(request, bearer)
      if (!claims) return null
      const subject = await subjects.findLiving(claims, claims.jti)
      if (!subject || subject.stepToken?.isConsumed) return null
      const { account: accountId, jti, exp } = claims
      const stepToken = { jti, expiresAt: new Date(exp * 1000) }
      return { kind: 'step', claims, accountId, subject, stepToken }
    }

    async function readAccessToken(
      request: FastifyRequest,
      bearer: string
    ): Promise<Credential | null> {
      const claims = await tokens.readAccessToken(request, bearer)
      if (!claims) return null
      const subject = await subjects.findLiving(claims)
      const { account: accountId } = claims
      return subject && { kind: 'accessToken', claims, accountId, subject, stepToken: null }
    }

    function admit(request: FastifyRequest, rule: CredentialRule, credential: Credential): void {
      if (credential.kind === 'step') {
        // Off its own routes a step token is no credential at all.
        if (rule.step !== credential.claims.purpose) throw invalidCredential(request)
        return
      }
      if (!isKindAdmitted(rule, credential)) throw new Problem('insufficient-scope')
      if (credential.kind !== 'accessToken' || !rule.accessToken) return
      admitHolder(request, rule.accessToken.holder, credential.subject)
      if (rule.accessToken.fresh) requireFresh(rule.accessToken.fresh, credential)
    }

    function requireFresh(
      fresh: 'second-factor' | 'enrolling',
      { claims, subject }: Extract<Credential, { kind: 'accessToken' }>
    ): void {
      if (isFresh(claims, now())) return
      const hasAuthenticator = subject.authenticators.length > 0
      const isPasswordRecent = isRecent(claims, now())
      if (fresh === 'enrolling' && !hasAuthenticator && isPasswordRecent) return
      throw stepUpRequired(nextStep({ hasAuthenticator, isPasswordRecent }))
    }
  },
  { name: 'credentials', dependencies: ['token-verification'] }
)

/** What everyone may call needs no record. */
function isDeclared({ credentials, limit, act }: FastifyContextConfig = {}): boolean {
  return credentials !== undefined && limit !== undefined && (credentials === 'none' || !!act)
}

/** Ours are below 1 KiB; what is longer is not worth decoding. */
const BEARER_FORM = /^Bearer ([\x21-\x7e]{1,4096})$/i

function bearerOf({ headers }: FastifyRequest): string | null {
  return BEARER_FORM.exec(headers.authorization ?? '')?.[1] ?? null
}

function isKindAdmitted(
  rule: CredentialRule,
  credential: Exclude<Credential, { kind: 'step' }>
): boolean {
  if (credential.kind === 'operator') return rule.operator === true
  if (credential.kind === 'accessToken') return rule.accessToken !== undefined
  return rule.apiKey?.some((scope) => credential.scopes.includes(scope)) ?? false
}

function admitHolder(request: FastifyRequest, holder: AccessTokenHolder, subject: Subject): void {
  const isAdmin = subject.role === 'admin'
  const admitted = {
    anyone: true,
    admin: isAdmin,
    self: isSelf(request, subject),
    'self-or-admin': isAdmin || isSelf(request, subject)
  }[holder]
  if (!admitted) throw new Problem('limited-access')
}

function isSelf(request: FastifyRequest, subject: Subject): boolean {
  const { userId } = request.params as { userId?: string }
  return userId === 'me' || userId === subject.userId
}

function nextStep(state: { hasAuthenticator: boolean; isPasswordRecent: boolean }) {
  if (state.hasAuthenticator) return 'verify'
  return state.isPasswordRecent ? 'enroll' : 'login'
}

function stepUpRequired(next: 'verify' | 'enroll' | 'login'): Problem {
  return new Problem('step-up-required', {
    extras: { next },
    headers: {
      'www-authenticate': `Bearer error="insufficient_user_authentication", acr_values="urn:twostep:acr:2", max_age=${FRESH_SECONDS}`
    }
  })
}

// RFC 6750 §3.1: no error code where no credential was sent.
function invalidCredential(request: FastifyRequest): Problem {
  const challenge = request.headers.authorization ? 'Bearer error="invalid_token"' : 'Bearer'
  return new Problem('invalid-credential', { headers: { 'www-authenticate': challenge } })
}
