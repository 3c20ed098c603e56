// An identity provider reduced to the parts that a relying party reads: its two documents and its tokens. A test can
// make each of them invalid.
import { once } from 'node:events'
import {
  createServer,
  type IncomingMessage,
  type RequestListener,
  type ServerResponse
} from 'node:http'
import type { AddressInfo } from 'node:net'
import {
  type CryptoKey,
  exportJWK,
  generateKeyPair,
  type JWK,
  type JWTHeaderParameters,
  SignJWT
} from 'jose'
import type { Test } from 'tap'

export const CLIENT_ID = 'twostep-test'

export interface ProviderKey {
  kid: string
  alg: string
  privateKey: CryptoKey
  publicJwk: JWK
}

export interface HttpServer {
  url: string
  /** The paths of all requests so far. */
  asked: string[]
  /** Refuses connections until it is started again, on the same port. */
  stop(): Promise<void>
  start(): Promise<void>
}

export interface IdentityProvider extends HttpServer {
  /** The keys that the key set shows, newest first. */
  keys: ProviderKey[]
  /** Responds instead of `answer`, until it is null again. */
  answerWith: RequestListener | null
  /** Responds with the documents. */
  answer: RequestListener
  /** Members that replace the valid ones of the discovery document. */
  discovery: Record<string, unknown>
  /** Returns an ID token issued at an instant. The given claims replace the valid ones; `undefined` omits a claim. */
  idToken(at: Date, claims?: Record<string, unknown>, signed?: Signed): Promise<string>
}

interface Signed {
  key?: ProviderKey
  header?: Record<string, unknown>
}

export async function newKey(kid: string, alg = 'ES256'): Promise<ProviderKey> {
  const { privateKey, publicKey } = await generateKeyPair(alg, { extractable: true })
  const publicJwk = { ...(await exportJWK(publicKey)), kid, alg, use: 'sig' }
  return { kid, alg, privateKey, publicJwk }
}

/** Opens a server on a port of its own, and closes it with the test. */
export async function openHttpServer(t: Test, answer: RequestListener): Promise<HttpServer> {
  const asked: string[] = []
  const server = createServer((request, response) => {
    asked.push(request.url ?? '')
    answer(request, response)
  })
  const listen = async (onPort: number) => {
    server.listen(onPort, '127.0.0.1')
    await once(server, 'listening')
  }
  await listen(0)
  const { port } = server.address() as AddressInfo
  const stop = async () => {
    if (!server.listening) return
    const closed = once(server, 'close')
    server.close()
    server.closeAllConnections()
    await closed
  }
  t.teardown(stop)
  return { url: `http://127.0.0.1:${port}`, asked, stop, start: () => listen(port) }
}

export async function openIdentityProvider(t: Test): Promise<IdentityProvider> {
  const server = await openHttpServer(t, (request, response) =>
    (provider.answerWith ?? answer)(request, response)
  )

  function answer(request: IncomingMessage, response: ServerResponse): void {
    const jwks_uri = `${provider.url}/keys`
    const document =
      request.url === '/keys'
        ? { keys: provider.keys.map(({ publicJwk }) => publicJwk) }
        : { issuer: provider.url, jwks_uri, ...provider.discovery }
    sendJson(response, document)
  }

  async function idToken(
    at: Date,
    claims: Record<string, unknown> = {},
    { key, header }: Signed = {}
  ): Promise<string> {
    const signer = key ?? provider.keys[0]
    if (!signer) throw new Error('the provider has no key')
    const iat = Math.floor(at.getTime() / 1000)
    const right = { iss: provider.url, aud: CLIENT_ID, sub: 'unknown', iat, exp: iat + 600 }
    const { alg, kid } = signer
    return new SignJWT({ ...right, ...claims })
      .setProtectedHeader({ alg, kid, typ: 'JWT', ...header } as JWTHeaderParameters)
      .sign(signer.privateKey)
  }

  const provider: IdentityProvider = {
    ...{
      ...server,
      keys: [await newKey('first')],
      answerWith: null,
      answer,
      discovery: {},
      idToken
    }
  }
  return provider
}

export function sendJson(response: ServerResponse, document: unknown): void {
  response.setHeader('content-type', 'application/json')
  response.end(JSON.stringify(document))
}

/** Returns a token assembled by hand, for tokens that no library would sign. */
export function handMade(
  header: object,
  payload: object,
  signatureOf: (signed: string) => string
): string {
  const signed = [header, payload]
    .map((part) => Buffer.from(JSON.stringify(part)).toString('base64url'))
    .join('.')
  return `${signed}.${signatureOf(signed)}`
}
