// Single sign-on, which needs no second step. Only an ID token that the account's identity provider has signed counts; a
// client can assert nothing by itself.
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import type { FastifyRequest } from 'fastify'
import { type Static, Type } from 'typebox'
import type { Act, Audit } from '../../audit/audit.ts'
import { type AuditDetails, NO_ACCOUNT } from '../../core/audit/events.ts'
import {
  type IdTokenFlaw,
  judgeIdToken,
  type ProvenIdentity,
  readIdToken
} from '../../core/id-tokens.ts'
import { noticeTo } from '../../core/mail/notices.ts'
import type { Accounts } from '../../data/accounts/accounts.ts'
import type {
  SsoAdmission,
  SsoIdentities,
  SsoIdentityKey,
  SsoOutcome
} from '../../data/sign-in/sso-identities.ts'
import type { SignInDoors } from '../../data/sign-in/subject-rows.ts'
import type { Subject, Subjects } from '../../data/sign-in/subjects.ts'
import type { ActRecord } from '../../data/trail/act-records.ts'
import type { RequestTurns } from '../../plugins/limits/turns.ts'
import type { SignIns } from '../../sign-in/sign-ins.ts'
import type { IdentityProviders } from '../../sso/identity-providers.ts'
import type { Problem } from '../../wire/problem.ts'
import { refTo } from '../../wire/references.ts'
import { Slug } from '../../wire/scalars.ts'
import { SignIn } from '../../wire/sign-in.ts'
import type { ReplyOf, RequestOf, RouteDefinition } from '../definitions.ts'

interface LoginSsoOptions {
  accounts: Accounts
  subjects: Subjects
  ssoIdentities: SsoIdentities
  identityProviders: IdentityProviders
  requestTurns: RequestTurns
  signIns: SignIns
  audit: Audit
  now: () => Date
}

const LoginSsoBody = Type.Object(
  {
    account: Slug,
    idToken: Type.String({
      minLength: 1,
      description:
        'The ID token, as the identity provider issued it to the client of the account. It is accepted once, within ten minutes of its issue.'
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
  trustEmail: boolean
  issuer: string
  clientId: string
}

interface VerifiedIdToken {
  proven: ProvenIdentity
  hash: Uint8Array<ArrayBuffer>
}

const NO_SSO: SignInDoors = { mode: 'off', issuer: null, clientId: null, trustEmail: false }

/** Four times the limit of the other routes: the token of a user with two hundred groups has 16 KiB or more. */
const BODY_LIMIT_BYTES = 64 * 1024

/** What follows a sign-in, and why, as the audit trail states it. */
const NEXT = {
  signed_in: { next: 'authenticated', why: 'sso_supersedes' },
  code_required: { next: 'verification_required', why: 'sso_link' }
} as const satisfies Record<SsoAdmission, AuditDetails>

/** Why a token is refused. The reason is audited; the caller gets the same response for all of them. */
type Flaw = IdTokenFlaw | 'malformed' | 'signature' | 'no_user' | Exclude<SsoOutcome, SsoAdmission>

const LOGIN_BY_SSO = {
  config: {
    limit: 'address',
    act: 'sign_in.sso',
    credentials: 'none',
    problems: ['invalid-sso-token', 'sso-not-enabled']
  },
  bodyLimit: BODY_LIMIT_BYTES,
  schema: {
    operationId: 'loginBySso',
    summary: 'Sign in by single sign-on',
    description:
      'Verifies an ID token against the issuer and the client of the account policy, and returns an access token without a second step. At the first sign-in, the verified e-mail address links the user to the subject of the token, and the user is notified by e-mail. A user with an authenticator needs a code for this first sign-in if the provider was set less than 24 hours ago: the response is `verification_required` with the reason `sso_link`, and the code links the user. An unknown account gets the same response as an account without single sign-on.',
    tags: ['Signing in'],
    body: LoginSsoBody,
    response: { 200: refTo(SignIn) }
  }
} as const satisfies RouteDefinition

const loginSsoRoutes: FastifyPluginAsyncTypebox<LoginSsoOptions> = async (
  app,
  { accounts, subjects, ssoIdentities, identityProviders, requestTurns, signIns, audit, now }
) => {
  app.post('/v1/login/sso', LOGIN_BY_SSO, loginBySso)

  async function loginBySso(
    request: RequestOf<typeof LOGIN_BY_SSO>,
    reply: ReplyOf<typeof LOGIN_BY_SSO>
  ) {
    const account = await requireSsoAccount(request, request.body.account)
    const { proven, hash } = await verifyIdToken(request, request.body, account)
    const { accountId, issuer, clientId } = account
    const { subject, verifiedEmail } = proven
    const identity = { accountId, issuer, clientId, subject }
    const user = await findUser(identity, verifiedEmail)
    const target = user && ({ kind: 'user', id: user.userId } as const)
    if (!user || user.isDisabled) throw await refuse(request, 'no_user', { accountId, target })
    // After the signature, which may wait for the provider: the account's own, which may be slow.
    const turn = { share: accountId, users: [user] }
    return requestTurns.run(reply, turn, () => signIn(request, user, { identity, proven, hash }))
  }

  async function signIn(
    request: FastifyRequest,
    user: Subject,
    { identity, proven, hash }: VerifiedIdToken & { identity: SsoIdentityKey }
  ): Promise<SignIn> {
    const { accountId, issuer, clientId, subject } = identity
    const { email, verifiedEmail, expiresAt, authentication } = proven
    const outcome = await ssoIdentities.signIn({
      userId: user.userId,
      identity,
      email,
      verifiedEmail,
      idToken: { hash, expiresAt },
      now: now(),
      recordOf: (admission, isNew) => recordOf(request, user, { issuer, admission, isNew })
    })
    if (outcome === 'code_required')
      return signIns.linkWithCode(user, authentication, { issuer, clientId, subject, email })
    const target = { kind: 'user', id: user.userId } as const
    if (outcome !== 'signed_in') throw await refuse(request, outcome, { accountId, target })
    return signIns.authenticated(user, authentication, 'sso_supersedes')
  }

  /** Returns the event of a sign-in and, if it links the user, the notice. */
  function recordOf(
    request: FastifyRequest,
    user: Subject,
    { issuer, admission, isNew }: { issuer: string; admission: SsoAdmission; isNew: boolean }
  ): ActRecord {
    const { accountId, userId } = user
    const isLinked = isNew && admission === 'signed_in'
    const event = audit.succeeded(request, {
      accountId,
      target: { kind: 'user', id: userId },
      details: {
        ...NEXT[admission],
        issuer,
        ...(isLinked ? { linkedIssuer: issuer } : {})
      },
      actor: { kind: 'user', id: userId, credential: 'id_token' }
    })
    return { event, notice: isLinked ? noticeTo(user, event, 'sso_linked', {}) : null }
  }

  /**
   * Returns the account with its single sign-on. Throws `sso-not-enabled` if the account does not exist, as if it had no
   * single sign-on, so that the response does not show which slugs exist.
   */
  async function requireSsoAccount(request: FastifyRequest, slug: string): Promise<SsoAccount> {
    const account = await accounts.findBySlug(slug)
    const accountId = account?.id ?? NO_ACCOUNT
    const { mode, issuer, clientId, trustEmail } = account?.sso ?? NO_SSO
    if (mode !== 'off' && issuer && clientId) return { accountId, issuer, clientId, trustEmail }
    throw await audit.refuse(request, 'sso-not-enabled', { accountId })
  }

  /**
   * Returns the identity that the ID token proves. Throws `invalid-sso-token`. The claims are judged before the
   * signature, so that a token with wrong claims never makes the service contact a provider.
   */
  async function verifyIdToken(
    request: FastifyRequest,
    { idToken: text, nonce }: Static<typeof LoginSsoBody>,
    { accountId, ...expected }: SsoAccount
  ): Promise<VerifiedIdToken> {
    const idToken = readIdToken(text)
    if (!idToken.isReadable) {
      throw await refuse(request, 'malformed', { accountId, details: { part: idToken.part } })
    }
    const verdict = judgeIdToken(idToken.claims, { ...expected, nonce: nonce ?? null }, now())
    if (!verdict.accepted) throw await refuse(request, verdict.reason, { accountId })
    const { issuer } = expected
    const isSigned = await identityProviders.verifySignature({ accountId, issuer }, text)
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
      { ...act, details: { why, ...act.details } },
      { headers: { 'www-authenticate': 'Bearer error="invalid_token"' } }
    )
  }
}

export default loginSsoRoutes
