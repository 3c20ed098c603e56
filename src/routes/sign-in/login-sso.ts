// The first step by single sign-on, which is the last one too: what the account's identity provider has signed, and
// nothing that a client says about it.
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

export interface LoginSsoOptions {
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
      description: 'As the identity provider has issued it to the account’s client; good once.'
    }),
    nonce: Type.Optional(
      Type.String({
        minLength: 1,
        maxLength: 512,
        description: 'The one that the provider was asked with; needed where there was one.'
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

/** Why a token is refused, as the record has it. The caller hears the same of all. */
type Flaw = IdTokenFlaw | 'malformed' | 'signature' | 'no_user' | Exclude<SsoOutcome, 'signed_in'>

const loginSso: FastifyPluginAsyncTypebox<LoginSsoOptions> = async (
  app,
  { accounts, subjects, ssoIdentities, identityProviders, signIns, audit, now }
) => {
  app.post(
    '/v1/login/sso',
    {
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
          'The ID token is verified against the issuer and the client of the account policy, and stands in for the second step. It is good once, for five minutes after it was issued. The first time, its verified e-mail address tells which user it is; from then on its subject does. An unknown account is answered as one without single sign-on.',
        tags: ['Signing in'],
        body: LoginSsoBody,
        response: { 200: refTo(SignIn) }
      }
    },
    async (request) => {
      const account = await ssoAccount(request, request.body.account)
      const { proven, hash } = await verify(request, request.body, account)
      const identity = { ...account, subject: proven.subject }
      const user = await findUser(identity, proven.verifiedEmail)
      const { accountId, issuer } = account
      const target = user && ({ kind: 'user', id: user.userId } as const)
      if (!user || user.isDisabled) throw await refuse(request, 'no_user', { accountId, target })
      const event = audit.succeeded(request, {
        ...{ accountId, target, details: { next: 'authenticated', why: 'sso_supersedes', issuer } },
        actor: { kind: 'user', id: user.userId, credential: 'id_token' }
      })
      const outcome = await ssoIdentities.signIn({
        ...{ userId: user.userId, identity, verifiedEmail: proven.verifiedEmail },
        idToken: { hash, expiresAt: proven.expiresAt },
        record: { event, notice: noticeTo(user, event, 'sso_linked', {}) }
      })
      if (outcome !== 'signed_in') throw await refuse(request, outcome, { accountId, target })
      return signIns.authenticated(user, proven.authentication, 'sso_supersedes')
    }
  )

  /** Throws `sso-not-enabled` where there is none, and where there is no account: so that slugs can't be tried. */
  async function ssoAccount(request: FastifyRequest, slug: string): Promise<SsoAccount> {
    const account = await accounts.findBySlug(slug)
    const accountId = account?.id ?? NO_ACCOUNT
    const { mode, issuer, clientId } = account?.sso ?? NO_SSO
    if (mode !== 'off' && issuer && clientId) return { accountId, issuer, clientId }
    throw await audit.refuse(request, 'sso-not-enabled', { accountId })
  }

  /** Throws `invalid-sso-token`. The claims come before the signature: what says the wrong things makes us ask nobody. */
  async function verify(
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

  /** By who they are to the provider; at their first time, by the address that it vouches for. */
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

export default loginSso
