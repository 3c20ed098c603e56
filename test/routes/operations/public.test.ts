// Public routes: probes, discovery, the spec and its page, and what browsers of other origins may read.
import { createHash } from 'node:crypto'
import { calculateJwkThumbprint, type JWK } from 'jose'
import t from 'tap'
import { parse } from 'yaml'
import { ISSUER, startApp } from '../../support/app.ts'
import { isProblem } from '../../support/problems.ts'

const FRONT_END = 'https://app.acme.example'

const { call, createAccount, database } = await startApp(t, {
  env: { CORS_ORIGINS: `${FRONT_END}, http://localhost:5173` }
})

t.test('200: the probes succeed, and no cache stores them', async (t) => {
  for (const [path, status] of [
    ['/health/live', 'live'],
    ['/health/ready', 'ready']
  ] as const) {
    const answer = await call('GET', path)
    t.same([answer.statusCode, answer.json()], [200, { status }])
    t.equal(answer.headers['cache-control'], 'no-store')
  }
})

t.test('200: the JWKS has only public keys', async (t) => {
  const answer = await call('GET', '/.well-known/jwks.json')
  t.match(answer.headers['cache-control'], /^public, max-age=\d+$/)
  const { keys } = answer.json()
  t.equal(keys.length, 1)
  for (const key of keys as JWK[]) {
    t.same(Object.keys(key).sort(), ['alg', 'crv', 'kid', 'kty', 'use', 'x', 'y'])
    t.match(key, { kty: 'EC', crv: 'P-256', alg: 'ES256', use: 'sig' })
    t.equal(key.kid, await calculateJwkThumbprint(key), 'RFC 7638')
  }
})

t.test('200: the URLs in the server metadata lead to this service', async (t) => {
  const answer = await call('GET', '/.well-known/oauth-authorization-server')
  t.match(answer.headers['cache-control'], /^public/)
  const metadata = answer.json()
  t.match(metadata, {
    issuer: ISSUER,
    jwks_uri: `${ISSUER}/.well-known/jwks.json`,
    introspection_endpoint: `${ISSUER}/v1/introspect`,
    response_types_supported: [],
    acr_values_supported: ['urn:twostep:acr:1', 'urn:twostep:acr:2']
  })
  for (const url of [metadata.jwks_uri, metadata.service_documentation]) {
    t.equal((await call('GET', url.slice(ISSUER.length))).statusCode, 200, url)
  }
})

t.test('200: the spec is the same in JSON and in YAML', async (t) => {
  const [json, yaml] = [await call('GET', '/openapi.json'), await call('GET', '/openapi.yaml')]
  t.match(json.headers['content-type'], /^application\/json/)
  t.match(yaml.headers['content-type'], /^application\/yaml/)
  t.same(parse(yaml.body), json.json())
})

t.test('200: the page of the spec loads nothing from another host', async (t) => {
  const page = await call('GET', '/docs')
  t.equal(page.statusCode, 200)
  t.match(page.headers['content-type'], /^text\/html/)
  const linked = [...page.body.matchAll(/(?:src|href)="([^"]+)"/g)].map(([, url = '']) => url)
  t.ok(linked.length >= 5)
  for (const url of linked) {
    t.notMatch(url, /^(https?:)?\/\//, 'no other host')
    const { pathname } = new URL(url, 'http://localhost/docs')
    t.equal((await call('GET', pathname)).statusCode, 200, pathname)
  }
  const policy = String(page.headers['content-security-policy'])
  t.notMatch(policy, /https?:\/\/|unsafe-eval|script-src[^;]*unsafe-inline/)
  t.notMatch(policy, /default-src 'none'/, 'a blocked script would leave the page empty')
  t.notMatch(policy, /upgrade-insecure-requests/, 'the page works over plain http on any host')
  t.match(policy, /style-src [^;]+/)
})

t.test('200: the problems are a page for people and JSON for programs', async (t) => {
  const accept = 'text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8'
  const page = await call('GET', '/docs/problems', { headers: { accept } })
  t.match(page.headers, { 'content-type': /^text\/html/, vary: /Accept/ })
  const json = await call('GET', '/docs/problems')
  const { items } = json.json()
  t.match(json.headers, { 'content-type': /^application\/json/, vary: /Accept/ })
  const rows = [...page.body.matchAll(/<tr id="([a-z-]+)"><td>(\d{3})<\/td>/g)]
  t.same(
    rows.map(([, code, status]) => ({ code, status: Number(status) })),
    items.map(({ code, status }: { code: string; status: number }) => ({ code, status }))
  )
  t.match(page.body, '<code>Retry-After</code>')
  const [, style = ''] = /<style>(.*)<\/style>/.exec(page.body) ?? []
  const hash = createHash('sha256').update(style).digest('base64')
  t.match(page.headers['content-security-policy'], `style-src 'sha256-${hash}'`)
  t.notMatch(page.body, /<script|https?:\/\//)
  for (const programs of [
    '*/*',
    'application/json',
    'application/json, text/html',
    'text/plain',
    'text/html;q=0',
    'text/html;q=0.1, application/json'
  ]) {
    const answer = await call('GET', '/docs/problems', { headers: { accept: programs } })
    t.equal(answer.body, json.body, programs)
  }
  for (const people of ['TEXT/HTML', 'application/json; q=0.5, text/html', 'text/html; q=0.2']) {
    const answer = await call('GET', '/docs/problems', { headers: { accept: people } })
    t.equal(answer.body, page.body, people)
  }
})

t.test('404: an unknown path returns a problem document', async (t) => {
  for (const [method, path] of [
    ['GET', '/'],
    ['GET', '/v1'],
    ['GET', '/v1/login'],
    ['PUT', '/v1/policy'],
    ['DELETE', '/v1/verify'],
    ['POST', '/v1/Login'],
    ['GET', '/docs/nothing'],
    ['GET', '/.env'],
    ['GET', '/docs/static/..%2f..%2fpackage.json']
  ] as const) {
    isProblem(t, await call(method, path), 404, 'not-found')
  }
})

t.test('every response has its own id, which the caller cannot choose', async (t) => {
  const headers = { 'x-request-id': 'chosen', 'request-id': 'chosen' }
  const answers = [
    await call('GET', '/health/live', { headers }),
    await call('GET', '/health/live', { headers }),
    await call('GET', '/nothing', { headers })
  ]
  const ids = answers.map((answer) => String(answer.headers['x-request-id']))
  t.equal(new Set(ids).size, 3)
  for (const id of ids) t.match(id, /^[0-9a-f]{8}-[0-9a-f]{4}-7/)
})

t.test('no response reveals the software behind it', async (t) => {
  for (const path of ['/health/live', '/docs', '/nothing', '/v1/users']) {
    const { headers } = await call('GET', path)
    t.equal(headers['x-powered-by'], undefined)
    t.equal(headers['server'], undefined)
    t.match(headers, { 'x-content-type-options': 'nosniff', 'x-frame-options': /DENY|SAMEORIGIN/ })
  }
})

t.test('CORS allows exactly the listed origins, and never cookies', async (t) => {
  const { apiKey: as } = await createAccount()
  const ask = (origin: string) => call('GET', '/v1/policy', { as, headers: { origin } })
  for (const origin of [FRONT_END, 'http://localhost:5173']) {
    const { headers } = await ask(origin)
    t.equal(headers['access-control-allow-origin'], origin)
    t.match(headers['vary'], /origin/i)
    t.equal(headers['access-control-allow-credentials'], undefined)
    const exposed = String(headers['access-control-expose-headers']).toLowerCase().split(', ')
    for (const name of ['etag', 'retry-after', 'www-authenticate', 'x-request-id']) {
      t.ok(exposed.includes(name), name)
    }
    for (const name of ['limit', 'remaining', 'reset']) t.ok(exposed.includes(`ratelimit-${name}`))
  }
  for (const origin of [
    'https://app.acme.example.evil.example',
    'https://evil-app.acme.example',
    'https://sub.app.acme.example',
    'http://app.acme.example',
    `${FRONT_END}:8443`,
    'http://localhost:5174',
    'null',
    '*'
  ]) {
    t.equal((await ask(origin)).headers['access-control-allow-origin'], undefined, origin)
  }
})

t.test('204: a preflight needs no credential and allows the methods of the contract', async (t) => {
  const preflight = (origin: string, path: string, method: string) =>
    call('OPTIONS', path, {
      headers: {
        origin,
        'access-control-request-method': method,
        'access-control-request-headers': 'authorization,content-type,if-match'
      }
    })
  for (const [path, method] of [
    ['/v1/login', 'POST'],
    ['/v1/policy', 'PATCH'],
    ['/v1/users/me', 'DELETE']
  ] as const) {
    const { statusCode, headers } = await preflight(FRONT_END, path, method)
    t.equal(statusCode, 204)
    t.equal(headers['access-control-allow-origin'], FRONT_END)
    t.ok(String(headers['access-control-allow-methods']).includes(method))
    t.match(headers['access-control-allow-headers'], /authorization.*if-match/)
  }
  const stranger = await preflight('https://evil.example', '/v1/login', 'POST')
  t.equal(stranger.headers['access-control-allow-origin'], undefined)
})

t.test('without CORS_ORIGINS no origin is allowed', async (t) => {
  const { call } = await startApp(t, { database })
  const origin = FRONT_END
  const { headers } = await call('GET', '/health/live', { headers: { origin } })
  t.equal(headers['access-control-allow-origin'], undefined)
})
