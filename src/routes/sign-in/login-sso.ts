// Single sign-on, which needs no second step. Only an ID token that the account's identity provider has signed counts; a
// client can assert nothing by itself.
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import type { FastifyRequest } from 'fastify'
import { type Static, Type } from 'typebox'
import type { Act, Audit } from '../../audit/audit.ts'
import { NO_ACCOUNT } from '../../core/audit/events.ts'
import {
  ID_TOKEN_LENGTH_MAX,
  type IdTokenFlaw,
  judgeIdToken,
  type ProvenIdentity,
  readIdToken
} from '../../core/id-tokens.ts'
import { noticeTo } from '../../core/mail/notices.ts'
import type { AccountPolicy } from '../../core/policy.ts'
import type { Accounts } from '../../data/accounts/accounts.ts'
import type {
  SsoIdentities,
  SsoIdentityKey,
  SsoOutcome
} from '../../data/sign-in/sso-identities.ts'
import type { Subject, Subjects } from '../../data/sign-in/subjects.ts'
import type { SignIns } from '../../sign-in/sign-ins.ts'
import type { IdentityProviders } from '../../sso/identity-providers.ts'
import type { Problem } from '../../wire/problem.ts'
import { refTo } from '../../wire/references.ts'
import { Slug } from '../../wire/scalars.ts'
import { SignIn } from '../../wire/sign-in.ts'
import type { RequestOf, RouteDefinition } from '../definitions.ts'

interface LoginSsoOptions {
  accounts: Accounts
  subjects: Subjects
  ssoIdentities: SsoIdentities
  identityProviders: IdentityProviders
  signIns: SignIns
  audit: Audit
  now: () => Date
}

const LoginSsoBody = Type.Object(
  {
    account: Slug,
    idToken: Type.String({
      minLength: 1,
      maxLength: ID_TOKEN_LENGTH_MAX,
      description:
        'The ID token, as the identity provider issued it to the client of the account. It is accepted once, within five minutes of its issue.'
    }),
    nonce: Type.Optional(
      Type.String({
        minLength: 1,
        maxLength: 512,
        description: 'The nonce of the authentication request. Required if the request had one.'
      })
    )
  },
  { additionalProperties: false }
)

interface SsoAccount {
  accountId: string
  issuer: string
  clientId: string
}

const NO_SSO: AccountPolicy['sso'] = { mode: 'off', issuer: null, clientId: null }

/** Why a token is refused. The reason is audited; the caller gets the same response for all of them. */
type Flaw = IdTokenFlaw | 'malformed' | 'signature' | 'no_user' | Exclude<SsoOutcome, 'signed_in'>

const LOGIN_BY_SSO = {
  config: {
    limit: 'address',
    act: 'sign_in.sso',
    credentials: 'none',
    problems: ['invalid-sso-token', 'sso-not-enabled']
  },
  schema: {
    operationId: 'loginBySso',
    summary: 'Sign in by single sign-on',
    description:
      'Verifies an ID token against the issuer and the client of the account policy, and returns an access token without a second step. At the first sign-in, the verified e-mail address links the user to the subject of the token, and the user is notified by e-mail. An unknown account gets the same response as an account without single sign-on.',
    tags: ['Signing in'],
    body: LoginSsoBody,
    response: { 200: refTo(SignIn) }
  }
} as const satisfies RouteDefinition

const loginSsoRoutes: FastifyPluginAsyncTypebox<LoginSsoOptions> = async (
  app,
  { accounts, subjects, ssoIdentities, identityProviders, signIns, audit, now }
) => {
  app.post('/v1/login/sso', LOGIN_BY_SSO, loginBySso)

  async function loginBySso(request: RequestOf<typeof LOGIN_BY_SSO>) {
    const account = await requireSsoAccount(request, request.body.account)
    const { proven, hash } = await verifyIdToken(request, request.body, account)
    const identity = { ...account, subject: proven.subject }
    const { verifiedEmail, expiresAt } = proven
    const user = await findUser(identity, verifiedEmail)
    const { accountId, issuer } = account
    const target = user && ({ kind: 'user', id: user.userId } as const)
    if (!user || user.isDisabled) throw await refuse(request, 'no_user', { accountId, target })
    const { userId } = user
    const event = audit.succeeded(request, {
      accountId,
      target,
      details: { next: 'authenticated', why: 'sso_supersedes', issuer },
      actor: { kind: 'user', id: userId, credential: 'id_token' }
    })
    const record = { event, notice: noticeTo(user, event, 'sso_linked', {}) }
    const idToken = { hash, expiresAt }
    const signIn = { userId, identity, verifiedEmail, idToken, record }
    const outcome = await ssoIdentities.signIn(signIn)
    if (outcome !== 'signed_in') throw await refuse(request, outcome, { accountId, target })
    return signIns.authenticated(user, proven.authentication, 'sso_supersedes')
  }

  /**
   * Returns the account with its single sign-on. Throws `sso-not-enabled` if the account does not exist, as if it had no
   * single sign-on, so that the response does not show which slugs exist.
   */
  async function requireSsoAccount(request: FastifyRequest, slug: string): Promise<SsoAccount> {
    const account = await accounts.findBySlug(slug)
    const accountId = account?.id ?? NO_ACCOUNT
    const { mode, issuer, clientId } = account?.sso ?? NO_SSO
    if (mode !== 'off' && issuer && clientId) return { accountId, issuer, clientId }
    throw await audit.refuse(request, 'sso-not-enabled', { accountId })
  }

  /**
   * Returns the identity that the ID token proves. Throws `invalid-sso-token`. The claims are judged before the
   * signature, so that a token with wrong claims never makes the service contact a provider.
   */
  async function verifyIdToken(
    request: FastifyRequest,
    { idToken: text, nonce }: Static<typeof LoginSsoBody>,
    { accountId, issuer, clientId }: SsoAccount
  ): Promise<{ proven: ProvenIdentity; hash: Uint8Array<ArrayBuffer> }> {
    const idToken = readIdToken(text)
    if (!idToken) throw await refuse(request, 'malformed', { accountId })
    const verdict = judgeIdToken(idToken.claims, { issuer, clientId, nonce: nonce ?? null }, now())
    if (!verdict.accepted) throw await refuse(request, verdict.reason, { accountId })
    const isSigned = await identityProviders.verifySignature(issuer, text)
    if (!isSigned) throw await refuse(request, 'signature', { accountId })
    return { proven: verdict.identity, hash: idToken.hash }
  }

  /** Finds the user by the linked identity or, before the first sign-in, by the e-mail address that the provider verified. */
  async function findUser(
    identity: SsoIdentityKey,
    verifiedEmail: string | null
  ): Promise<Subject | null> {
    const { accountId } = identity
    const userId = await ssoIdentities.findUserId(identity)
    if (userId !== null) return subjects.find({ accountId, userId })
    return verifiedEmail === null ? null : subjects.findByEmail(accountId, verifiedEmail)
  }

  function refuse(request: FastifyRequest, why: Flaw, act: Act): Promise<Problem> {
    return audit.refuse(
      request,
      'invalid-sso-token',
      { ...act, details: { why } },
      { headers: { 'www-authenticate': 'Bearer error="invalid_token"' } }
    )
  }
}

export default loginSsoRoutes
