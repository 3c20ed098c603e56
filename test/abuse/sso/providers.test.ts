// S18: what the service requests from an identity provider, how often, and which responses it accepts.
import { once } from 'node:events'
import { type AddressInfo, createServer } from 'node:net'
import t from 'tap'
import { ON_SERVER, startApp } from '../../support/app.ts'
import { newKey, openHttpServer, sendJson } from '../../support/identity-provider.ts'
import { isProblem } from '../../support/problems.ts'
import { startSsoApp } from './sso-app.ts'

const sso = await startSsoApp(t)
const { account, adaClaims, bySso, clock, database, elsewhere, isRefused, loadsOfKeys } = sso
const { provider, ssoAccount, untilKeysMayLoad } = sso

t.test(
  '200 · 401: a new key is loaded once, and a removed key is no longer accepted',
  ON_SERVER,
  async (t) => {
    const [before] = provider.keys
    t.equal((await bySso(await provider.idToken(clock.now(), adaClaims))).statusCode, 200)
    const next = await newKey('second', 'RS256')
    provider.keys = [next]
    untilKeysMayLoad()
    const loads = loadsOfKeys()
    const answers = await Promise.all(
      [1, 2, 3].map(async (jti) =>
        bySso(await provider.idToken(clock.now(), { ...adaClaims, jti }))
      )
    )
    t.same(
      answers.map(({ statusCode }) => statusCode),
      [200, 200, 200]
    )
    t.equal(loadsOfKeys(), loads + 1, 'concurrent sign-ins share the load')
    const old = await provider.idToken(clock.now(), adaClaims, before && { key: before })
    await isRefused(t, await bySso(old), 'signature')
  }
)

t.test('401: forged key ids cause one load of the keys in ten seconds', ON_SERVER, async (t) => {
  untilKeysMayLoad()
  const loads = loadsOfKeys()
  for (let forged = 0; forged < 5; forged += 1) {
    const key = await newKey(`forged-${forged}`)
    await isRefused(
      t,
      await bySso(await provider.idToken(clock.now(), adaClaims, { key })),
      'signature'
    )
  }
  t.equal(loadsOfKeys(), loads + 1)
})

t.test(
  '503: an unknown key cannot be loaded while the provider is down, and known keys are still accepted',
  ON_SERVER,
  async (t) => {
    await provider.stop()
    clock.advance({ minutes: 11 })
    t.equal((await bySso(await provider.idToken(clock.now(), adaClaims))).statusCode, 200)
    const key = await newKey('third')
    untilKeysMayLoad()
    const idToken = await provider.idToken(clock.now(), adaClaims, { key })
    for (const answer of [await bySso(idToken), await bySso(idToken)]) {
      isProblem(t, answer, 503, 'unavailable')
      t.equal(answer.headers['retry-after'], '10')
    }
    provider.keys = [key, ...provider.keys]
    await provider.start()
    untilKeysMayLoad()
    t.equal((await bySso(idToken)).statusCode, 200, 'the token is still unused')
  }
)

t.test(
  '503: a provider’s wrong response is rejected; size and time are limited, and redirects are not followed',
  ON_SERVER,
  async (t) => {
    const reachable = { issuer: provider.url, jwks_uri: `${elsewhere.url}/keys` }
    const responses: [string, () => void][] = [
      ['1 MiB', () => respond((response) => response.end(JSON.stringify('x'.repeat(1 << 20))))],
      [
        'a redirect',
        () => respond((response) => response.writeHead(302, { location: elsewhere.url }).end())
      ],
      ['malformed JSON', () => respond((response) => response.end('{'))],
      ['null', () => respond((response) => response.end('null'))],
      [
        'HTML',
        () => respond((response) => response.setHeader('content-type', 'text/html').end('{}'))
      ],
      ['500', () => respond((response) => response.writeHead(500).end('{}'))],
      ['another issuer', () => discover({ ...reachable, issuer: elsewhere.url })],
      ['no jwks_uri', () => discover({ jwks_uri: undefined })],
      ['keys in a file', () => discover({ jwks_uri: 'file:///etc/passwd' })],
      ['keys in a private network', () => discover({ jwks_uri: 'https://10.0.0.1/keys' })],
      ['keys at the metadata service', () => discover({ jwks_uri: 'http://169.254.169.254/' })],
      ['keys that are not keys', () => discover({ jwks_uri: `${provider.url}/.well-known/x` })]
    ]
    const key = await newKey('fourth')
    for (const [title, arrange] of responses) {
      arrange()
      untilKeysMayLoad()
      const refused = await bySso(await provider.idToken(clock.now(), adaClaims, { key }))
      await t.test(title, async (t) => void isProblem(t, refused, 503, 'unavailable'))
    }
    await t.test('no response', async (t) => {
      respond(() => {})
      const hasty = await startApp(t, { database, clock, timeouts: { providerMs: 300 } })
      const body = {
        idToken: await provider.idToken(clock.now(), adaClaims),
        account: account.slug
      }
      isProblem(t, await hasty.call('POST', '/v1/login/sso', { body }), 503, 'unavailable')
    })
    t.same(elsewhere.asked, [])

    function respond(how: (response: Parameters<typeof sendJson>[0]) => void) {
      provider.discovery = {}
      provider.answerWith = (_request, response) => {
        response.setHeader('content-type', 'application/json')
        how(response)
      }
    }
    function discover(discovery: Record<string, unknown>) {
      provider.answerWith = null
      provider.discovery = discovery
    }
  }
)

t.test(
  '200: the keys are on another host, which the discovery document names',
  ON_SERVER,
  async (t) => {
    const key = await newKey('elsewhere')
    const host = await openHttpServer(t, (_request, response) =>
      sendJson(response, { keys: [key.publicJwk] })
    )
    provider.answerWith = null
    provider.discovery = { jwks_uri: `${host.url}/keys` }
    untilKeysMayLoad()
    const idToken = await provider.idToken(clock.now(), adaClaims, { key })
    t.equal((await bySso(idToken)).statusCode, 200)
    t.same(host.asked, ['/keys'])
    provider.discovery = {}
  }
)

t.test(
  '503: in production the service connects to private networks only if they are configured',
  ON_SERVER,
  async (t) => {
    let connections = 0
    const listener = createServer((socket) => {
      connections += 1
      socket.destroy()
    }).listen(0, '127.0.0.1')
    await once(listener, 'listening')
    t.teardown(() => listener.close())
    const issuer = `https://127.0.0.1:${(listener.address() as AddressInfo).port}`
    const secure = await ssoAccount('optional', { issuer })

    const env = { NODE_ENV: 'production' }
    const configured = { ...env, SSO_PRIVATE_NETWORKS: '127.0.0.0/8' }
    const requestsBefore = provider.asked.length
    const plain = await startApp(t, { env, database, clock })
    for (const { of, iss } of [
      { of: account, iss: provider.url },
      { of: secure, iss: issuer }
    ]) {
      const idToken = await provider.idToken(clock.now(), { ...adaClaims, iss })
      const body = { account: of.slug, idToken }
      isProblem(t, await plain.call('POST', '/v1/login/sso', { body }), 503, 'unavailable')
    }
    t.equal(provider.asked.length, requestsBefore, 'http is for development only')
    t.equal(connections, 0)
    const closed = await startApp(t, { env: configured, database, clock })
    const idToken = await provider.idToken(clock.now(), { ...adaClaims, iss: issuer })
    const body = { account: secure.slug, idToken }
    isProblem(t, await closed.call('POST', '/v1/login/sso', { body }), 503, 'unavailable')
    t.equal(connections, 1)
  }
)
