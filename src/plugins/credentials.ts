// The credentials of callers. Each route declares in `config.credentials` which ones it accepts. The plugins in credentials/
// are the only code that reads `Authorization`. They run before the body is parsed.
import type { FastifyRequest } from 'fastify'
import fastifyPlugin from 'fastify-plugin'
import type { Scope } from '../core/bearer-keys.ts'
import type { AccessClaims, FirstFactor, StepClaims, StepPurpose } from '../core/claims.ts'
import type { Subject } from '../data/sign-in/subjects.ts'
import type { StepTokenKey } from '../data/sign-in/verdicts.ts'

export type AccessTokenHolder = 'anyone' | 'admin' | 'self' | 'self-or-admin'

/**
 * How fresh a sign-in a route requires. `second-factor`: a second factor shown at most ten minutes ago. `recent`: any
 * sign-in of that age. `enrolling`: `second-factor` if the user has an active authenticator, otherwise `recent`.
 */
export type Freshness = 'second-factor' | 'recent' | 'enrolling'

/** A route can require another freshness of users who act on themselves than of admins who act on others. */
interface FreshnessByTarget {
  self?: Freshness
  others: Freshness
}

/** The credentials that a route accepts. A kind that is not named is rejected. */
export interface CredentialRule {
  operator?: true
  /** Any one of these scopes is enough. */
  apiKey?: readonly Scope[]
  step?: StepPurpose
  accessToken?: {
    holder: AccessTokenHolder
    fresh?: Freshness | FreshnessByTarget
    /**
     * The route leads to a new access token of the same session, so it rejects sessions that have ended. A route for
     * set-ups itself rejects every token if the account accepts no passwords.
     */
    extends?: 'by-code' | 'by-set-up'
  }
}

/** The verified caller. No other source says which account a request belongs to. */
export type Credential =
  | { kind: 'operator'; id: string }
  | {
      kind: 'apiKey'
      id: string
      accountId: string
      scopes: readonly Scope[]
      expiresAt: Date | null
    }
  | {
      kind: 'step'
      claims: StepClaims
      firstFactor: FirstFactor
      accountId: string
      subject: Subject
      /** Identifies this step token. It is used up when the user completes the step. */
      stepToken: StepTokenKey
    }
  | {
      kind: 'accessToken'
      claims: AccessClaims
      /** Null for a token of a release up to 0.1. Its session cannot be extended. */
      firstFactor: FirstFactor | null
      accountId: string
      subject: Subject
      stepToken: null
    }

declare module 'fastify' {
  interface FastifyContextConfig {
    /** The credentials that the route accepts; `none` if it requires none. Every route declares it. */
    credentials?: CredentialRule | 'none'
  }
  interface FastifyRequest {
    /** Null until it is verified, and on routes that anyone may call. */
    credential: Credential | null
    /** Returns the verified credential. Throws if it has another kind, which the route's rule must prevent. */
    credentialOf<Kind extends Credential['kind']>(
      ...kinds: Kind[]
    ): Extract<Credential, { kind: Kind }>
  }
}

/** Adds the verified credential to requests. The plugins in credentials/ set and check it. */
export const credentials = fastifyPlugin(
  async (app) => {
    app.decorateRequest('credential', null)
    app.decorateRequest('credentialOf', credentialOf)
  },
  { name: 'credentials' }
)

function credentialOf<Kind extends Credential['kind']>(
  this: FastifyRequest,
  ...kinds: Kind[]
): Extract<Credential, { kind: Kind }> {
  const { credential } = this
  if (!credential || !kinds.some((kind) => kind === credential.kind)) {
    throw new Error(`${this.routeOptions.url} must declare the credentials that it reads`)
  }
  return credential as Extract<Credential, { kind: Kind }>
}
