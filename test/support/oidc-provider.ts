// A complete identity provider (oidc-provider). Users sign in by the code flow with PKCE and nonce, without a browser:
// this file follows the redirects itself.
import { createHash, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { exportJWK } from 'jose'
import Provider from 'oidc-provider'
import type { Test } from 'tap'
import { newKey } from './identity-provider.ts'

const CLIENT_ID = 'twostep'
const REDIRECT_URI = 'https://app.acme.test/callback'

const HOUR_EACH = Object.fromEntries(
  ['AccessToken', 'AuthorizationCode', 'Grant', 'IdToken', 'Interaction', 'Session'].map((name) => [
    name,
    3600
  ])
)

export interface OidcProvider {
  issuer: string
  clientId: string
  /** Signs in a user with that verified address. Returns what the host's front end receives. */
  signIn(email: string): Promise<{ idToken: string; nonce: string }>
}

export async function openOidcProvider(t: Test): Promise<OidcProvider> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => server.close())
  const issuer = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  const { alg, kid, privateKey } = await newKey('oidc', 'RS256')
  let whoSignsIn = ''

  const provider = new Provider(issuer, {
    clients: [
      {
        client_id: CLIENT_ID,
        token_endpoint_auth_method: 'none',
        redirect_uris: [REDIRECT_URI]
      }
    ],
    claims: { openid: ['sub'], email: ['email', 'email_verified'] },
    // The claims are in the ID token itself, as with most providers.
    conformIdTokenClaims: false,
    features: { devInteractions: { enabled: false } },
    interactions: { url: (_context: unknown, { uid }: { uid: string }) => `/interaction/${uid}` },
    jwks: { keys: [{ ...(await exportJWK(privateKey)), alg, kid, use: 'sig' }] },
    ttl: HOUR_EACH,
    cookies: { keys: [randomBytes(16).toString('hex')] },
    findAccount: (_context: unknown, accountId: string) => ({
      accountId,
      claims: () => ({ sub: accountId, email: whoSignsIn, email_verified: true })
    })
  })
  const answer = provider.callback()
  server.on('request', async (request, response) => {
    if (!request.url?.startsWith('/interaction/')) return answer(request, response)
    // The user signs in, and consents to the client.
    const { params, grantId } = await provider.interactionDetails(request, response)
    const accountId = createHash('sha256').update(whoSignsIn.toLowerCase()).digest('hex')
    const clientId = String(params['client_id'])
    const grant =
      (grantId && (await provider.Grant.find(grantId))) ||
      new provider.Grant({ accountId, clientId })
    grant.addOIDCScope('openid email')
    const consent = { grantId: await grant.save() }
    return provider.interactionFinished(request, response, { login: { accountId }, consent })
  })

  return {
    issuer,
    clientId: CLIENT_ID,
    async signIn(email) {
      whoSignsIn = email
      const nonce = randomBytes(16).toString('base64url')
      const verifier = randomBytes(32).toString('base64url')
      const asked = new URLSearchParams({
        ...{ client_id: CLIENT_ID, redirect_uri: REDIRECT_URI, response_type: 'code' },
        ...{ scope: 'openid email', nonce, prompt: 'login' },
        code_challenge: createHash('sha256').update(verifier).digest('base64url'),
        code_challenge_method: 'S256'
      })
      const code = await followToCode(`${issuer}/auth?${asked}`)
      const answer = await fetch(`${issuer}/token`, {
        method: 'POST',
        body: new URLSearchParams({
          ...{ grant_type: 'authorization_code', client_id: CLIENT_ID, code },
          ...{ redirect_uri: REDIRECT_URI, code_verifier: verifier }
        })
      })
      const { id_token: idToken } = (await answer.json()) as { id_token: string }
      return { idToken, nonce }
    }
  }
}

/** Keeps cookies and follows redirects, as a browser does, until one leads to the host. Returns the host's code. */
async function followToCode(start: string): Promise<string> {
  const cookies = new Map<string, string>()
  let url = start
  while (!url.startsWith(REDIRECT_URI)) {
    const cookie = Array.from(cookies, ([name, value]) => `${name}=${value}`).join('; ')
    const answer = await fetch(url, { headers: { cookie }, redirect: 'manual' })
    for (const set of answer.headers.getSetCookie()) {
      const [, name = '', value = ''] = /^([^=]+)=([^;]*)/.exec(set) ?? []
      cookies.set(name, value)
    }
    const location = answer.headers.get('location')
    if (!location) throw new Error(`${url} returned ${answer.status}: ${await answer.text()}`)
    url = new URL(location, url).href
  }
  const code = new URL(url).searchParams.get('code')
  if (!code) throw new Error(`no code in ${url}`)
  return code
}
