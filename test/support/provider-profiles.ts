// Real identity providers as data: how each one writes its issuer, times, claims, algorithms and documents, as far as that
// differs. To add one, add an entry with the address of its source.
import type { JWK } from 'jose'
import type { Test } from 'tap'
import {
  CLIENT_ID,
  type IdentityProvider,
  newKey,
  openIdentityProvider
} from './identity-provider.ts'

export interface ProviderProfile {
  /** What follows the host in the issuer. */
  path: string
  /** How a user is linked at the first sign-in. */
  links: 'by verified address' | 'by trusted address' | 'by the back end'
  /** The claims in addition to `iss`, `aud`, `sub`, `iat` and `exp`, or instead of these. `at` is in seconds. */
  claims(at: number, email: string): Record<string, unknown>
  /** The claims that make another token of the provider for the same client; null if it has a `typ` of its own. */
  accessToken: Record<string, unknown> | null
  /** Header members in addition to `alg`, `kid` and `typ: JWT`, or instead of these. */
  header?: Record<string, unknown>
  /** The key set, from the key that signs. */
  keySet?(key: JWK): unknown[]
  /** What precedes both documents, and their media type. */
  documents?: { prefix?: string; mediaType?: string }
  /** Members of the discovery document. */
  discovery?: Record<string, unknown>
}

const withoutAlg = ({ alg: _alg, ...key }: JWK) => key
const CERTIFICATE = { x5t: 'q-23falevZhhD3hm9CQbkP5MQyU', x5c: ['MIIDBTCCAe2gAwIBAgIQ'] }
/** Decrypts tokens, so it can't verify one. */
const ENCRYPTION_KEY = { kty: 'RSA', use: 'enc', alg: 'RSA-OAEP', kid: 'enc', n: 'AQAB', e: 'AQAB' }

export const PROFILES: Readonly<Record<string, ProviderProfile>> = {
  // learn.microsoft.com/entra/identity-platform/id-token-claims-reference: `iat` and `nbf` are five minutes back, the
  // address is not declared verified. login.microsoftonline.com/common/discovery/v2.0/keys: the keys have no `alg`.
  'Entra ID v2': {
    path: '/9188040d-6c67-4c5b-b112-36a304b66dad/v2.0',
    links: 'by trusted address',
    claims: (at, email) => ({
      ...{ iat: at - 300, nbf: at - 300, exp: at + 3600, email, preferred_username: email },
      ...{ oid: '690222be-ff1a-4d56-abd1-7e4f7d38e474', ver: '2.0', uti: 'bkzWP5UgSkqX' },
      groups: Array.from({ length: 199 }, (_, n) => `0e129f5b-6b0a-4944-982d-${n + 1e11}`)
    }),
    accessToken: { scp: 'openid profile' },
    keySet: (key) => [{ ...withoutAlg(key), ...CERTIFICATE, issuer: 'https://example' }]
  },

  // developers.google.com/identity/openid-connect/openid-connect#an-id-tokens-payload
  'Google, web': {
    path: '',
    links: 'by verified address',
    claims: (at, email) => ({
      ...{ azp: CLIENT_ID, exp: at + 3600, email, email_verified: true, hd: 'example.com' },
      ...{ at_hash: 'HK6E_P6Dh8Y93mRNtsDB1Q', picture: 'https://lh3.example/photo.jpg' }
    }),
    accessToken: null
  },

  // developers.google.com/identity/sign-in/android/backend-auth: `aud` is the back end's client, `azp` that of the app.
  'Google, Android': {
    path: '',
    links: 'by verified address',
    claims: (at, email) => ({
      ...{ azp: '407408718192.apps.googleusercontent.com', exp: at + 3600 },
      ...{ email, email_verified: true }
    }),
    accessToken: null
  },

  // developer.okta.com/docs/reference/api/oidc/#id-token: no `typ` in the header; access tokens have `scp`.
  Okta: {
    path: '/oauth2/default',
    links: 'by verified address',
    claims: (at, email) => ({
      ...{ ver: 1, jti: 'ID.QjDbpGOLbAGM', amr: ['pwd', 'mfa'], idp: '00o1', auth_time: at - 5 },
      ...{ exp: at + 3600, email, email_verified: true }
    }),
    accessToken: { scp: ['openid'], cid: CLIENT_ID },
    header: { typ: undefined }
  },

  // www.keycloak.org/securing-apps/oidc-layers: `typ` in the payload; realms also publish a key for encryption.
  Keycloak: {
    path: '/realms/acme',
    links: 'by verified address',
    claims: (at, email) => ({
      ...{ typ: 'ID', azp: CLIENT_ID, acr: '1', auth_time: at - 5, exp: at + 300, sid: 'b3f1' },
      ...{ jti: 'd6f0', email, email_verified: true, preferred_username: 'ada' }
    }),
    accessToken: { typ: 'Bearer', scope: 'openid email' },
    keySet: (key) => [ENCRYPTION_KEY, { ...key, ...CERTIFICATE, 'x5t#S256': 'b' }]
  },

  // auth0.com/docs/secure/tokens/id-tokens/id-token-structure: the issuer ends in a slash, tokens are valid for ten hours.
  Auth0: {
    path: '/',
    links: 'by verified address',
    claims: (at, email) => ({ exp: at + 36_000, sid: 'yR1', email, email_verified: true }),
    accessToken: { scope: 'openid profile email' },
    keySet: (key) => [{ ...key, ...CERTIFICATE }, {}]
  },

  // github.com/knadh/listmonk/issues/2237, a token: `email_verified` is text, `aud` is a list.
  JumpCloud: {
    path: '/',
    links: 'by verified address',
    claims: (at, email) => ({
      ...{ aud: [CLIENT_ID], auth_time: at - 64, rat: at - 70, exp: at + 3600, middle_name: '' },
      ...{ email, email_verified: 'true', sid: '83f08275', jti: 'd71bd5c8' }
    }),
    accessToken: { scp: ['openid', 'email'], client_id: CLIENT_ID }
  },

  // learn.microsoft.com/openspecs/windows_protocols/ms-oidce: `unique_name`, `upn`, `pwd_exp`; the discovery document
  // names another issuer for access tokens. Behind IIS, documents can start with a byte order mark.
  ADFS: {
    path: '/adfs',
    links: 'by trusted address',
    claims: (at, email) => ({
      ...{ nbf: at, exp: at + 3600, auth_time: String(at - 5), email, upn: email },
      ...{ unique_name: 'ACME\\ada', pwd_exp: '3600', amr: 'urn:oasis:windows', sid: 'S-1-5-21' }
    }),
    accessToken: { scp: 'openid', apptype: 'Confidential' },
    header: { x5t: CERTIFICATE.x5t },
    keySet: (key) => [{ ...key, ...CERTIFICATE, key_ops: null }],
    discovery: { access_token_issuer: 'http://adfs.example/adfs/services/trust' },
    documents: { prefix: '\uFEFF', mediaType: 'text/plain' }
  },

  // github.com/ORCID/ORCID-Source/blob/main/orcid-web/ORCID_AUTH_WITH_OPENID_CONNECT.md: `amr` is text, tokens are valid for a
  // day and have no e-mail address. orcid.org/oauth/jwks: the keys have no `alg`.
  ORCID: {
    path: '',
    links: 'by the back end',
    claims: (at) => ({
      ...{ at_hash: 'lJwxKuTkPyMYVAcBDgOHvA', auth_time: at - 60, exp: at + 86_400, amr: 'pwd' },
      ...{ family_name: 'Lovelace', given_name: null, jti: '6cd4' }
    }),
    accessToken: null,
    header: { typ: undefined },
    keySet: (key) => [withoutAlg(key)]
  }
}

export interface ProfiledProvider {
  issuer: string
  /** Returns an ID token of the profile, issued at an instant. */
  idToken(at: Date, sub: string, email: string, more?: Record<string, unknown>): Promise<string>
}

/** Starts a provider that behaves like the profile. */
export async function openProfiledProvider(
  t: Test,
  { path, claims, header, keySet, documents = {}, discovery }: ProviderProfile
): Promise<ProfiledProvider> {
  const provider: IdentityProvider = await openIdentityProvider(t)
  const key = await newKey('9gmuVp2SCkc', 'RS256')
  const issuer = `${provider.url}${path}`
  const { prefix = '', mediaType = 'application/json' } = documents
  const shown: Record<string, unknown> = {
    [`${path.replace(/\/$/, '')}/.well-known/openid-configuration`]: {
      ...{ issuer, jwks_uri: `${provider.url}/keys`, ...discovery }
    },
    '/keys': { keys: keySet?.(key.publicJwk) ?? [key.publicJwk] }
  }
  provider.answerWith = ({ url = '' }, response) => {
    response.writeHead(url in shown ? 200 : 404, { 'content-type': mediaType })
    response.end(`${prefix}${JSON.stringify(shown[url] ?? {})}`)
  }
  return {
    issuer,
    idToken: (at, sub, email, more = {}) => {
      const all = { iss: issuer, sub, ...claims(Math.floor(at.getTime() / 1000), email), ...more }
      return provider.idToken(at, all, { key, ...(header && { header }) })
    }
  }
}
