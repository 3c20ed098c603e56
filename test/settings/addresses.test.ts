// URLs, origins and networks: the one accepted form of each.
import t from 'tap'
import { assertRejected, COMPLETE, configOf, KEYS, refusal } from './refusals.ts'

t.test('a URL of the wrong form is rejected, and its error does not show it', async (t) => {
  assertRejected(t, {
    ISSUER: [
      'id.example.com',
      '/id',
      'ftp://id.example.com',
      'https://',
      'https:',
      'javascript:alert(1)',
      'https://id.example.com/',
      'https://id.example.com/auth/',
      'https://id.example.com//',
      'https://id.example.com?tenant=1',
      'https://id.example.com?',
      'https://id.example.com#x',
      'https://id.example.com#',
      'https://u@id.example.com',
      'https://:hunter2@id.example.com',
      ' https://id.example.com',
      'https://id.example.com ',
      'https://id.example.com\n',
      'HTTPS://id.example.com',
      'https://ID.example.com',
      'https://id.example.com:443',
      'https://id.example.com/a/../b',
      'https://id.example.com/a b',
      'https:id.example.com'
    ],
    CORS_ORIGINS: [
      '*',
      'front.example.org',
      'https://front.example.org/',
      'https://front.example.org/path',
      'null',
      'https://*.example.com',
      'https://FRONT.example.org',
      'https://front.example.org:443',
      'https://u@front.example.org',
      'https://front.example.org?x',
      'file:///etc',
      'about:blank',
      'https://a.example.com https://b.example.com',
      'https://a.example.com,*',
      'ws://a.example'
    ]
  })
})

t.test('an issuer is kept as it is written', async (t) => {
  for (const issuer of [
    'https://id.example.com',
    'https://id.example.com/auth',
    'http://localhost:3000',
    'https://id.example.com:8443/a/b',
    'http://127.0.0.1:3000',
    'http://[::1]:3000',
    'https://[2001:db8::1]:8443'
  ]) {
    t.equal(configOf({ ...COMPLETE, ISSUER: issuer }).issuer, issuer)
  }
})

t.test('production requires https for an issuer on another machine', async (t) => {
  for (const ISSUER of ['http://10.0.0.1', 'http://id.example.com', 'http://localhost.example']) {
    const message = 'ISSUER must be an https URL in production, except on localhost'
    t.equal(refusal(t, 'ISSUER', { ...COMPLETE, ISSUER }), message)
    t.equal(configOf({ ...COMPLETE, NODE_ENV: 'development', ISSUER }).issuer, ISSUER)
  }
})

t.test('CORS origins are a list of exact origins', async (t) => {
  const originsOf = (list: string) => configOf({ ...COMPLETE, CORS_ORIGINS: list }).corsOrigins
  t.strictSame(originsOf(''), [])
  t.strictSame(originsOf(' , ,'), [])
  const two = ['https://a.example', 'http://localhost:5173']
  t.strictSame(originsOf('https://a.example, http://localhost:5173 ,'), two)
})

t.test('a trusted proxy is an address or a network, never nearly every address', async (t) => {
  const proxiesOf = (list: string) =>
    configOf({ ...COMPLETE, TRUSTED_PROXIES: list }).trustedProxies
  t.strictSame(proxiesOf(''), [])
  const fine = ['10.0.0.0/8', '192.168.1.7', '172.16.0.0/12', '2001:db8::/32', '::1', 'fd00::/8']
  t.strictSame(proxiesOf(fine.join(' , ')), fine)
  t.ok(Object.isFrozen(proxiesOf('::1')))
  const malformed = [
    ...['*', 'true', '1', 'loopback', 'proxy.internal', '10.0.0', '10.0.0.0/', '10.0.0.0/33'],
    ...['10.0.0.0/8/8', '10.0.0.0/-8', '10.0.0.0/255.0.0.0', '::/129', 'fe80::1%eth0', '[::1]']
  ]
  const tooWide = [
    ...['0.0.0.0/0', '::/0', '128.0.0.0/1', '10.0.0.0/7', '10.0.0.1,0.0.0.0/0', '2000::/3'],
    // All of IPv4 in its IPv6 spelling.
    ...['::ffff:0:0/96', '::FFFF:0.0.0.0/96', '0:0:0:0:0:ffff::/96', '::/64', '0:1::/8', '00ab::/8']
  ]
  for (const list of [...malformed, ...tooWide]) {
    refusal(t, 'TRUSTED_PROXIES', { ...COMPLETE, TRUSTED_PROXIES: list })
  }
})

t.test('a private network of identity providers is never nearly every address', async (t) => {
  const networksOf = (list: string) =>
    configOf({ ...COMPLETE, SSO_PRIVATE_NETWORKS: list }).ssoPrivateNetworks
  t.strictSame(networksOf(''), [])
  const three = ['10.0.0.0/8', 'fd00::/8', '192.168.1.7']
  t.strictSame(networksOf('10.0.0.0/8, fd00::/8,192.168.1.7'), three)
  for (const list of ['*', 'login.internal', '10.0.0.0/33', '0.0.0.0/0', '::/0']) {
    refusal(t, 'SSO_PRIVATE_NETWORKS', { ...COMPLETE, SSO_PRIVATE_NETWORKS: list })
  }
})

t.test('traces are sent to the URL that OpenTelemetry derives from its variables', async (t) => {
  const [base, whole] = ['OTEL_EXPORTER_OTLP_ENDPOINT', 'OTEL_EXPORTER_OTLP_TRACES_ENDPOINT']
  for (const [env, url] of [
    [{}, null],
    [{ [base]: 'http://c:4318' }, 'http://c:4318/v1/traces'],
    [{ [base]: 'http://c:4318/x/' }, 'http://c:4318/x/v1/traces'],
    [{ [base]: 'http://c:4318', [whole]: 'https://d/t' }, 'https://d/t'],
    [{ OTEL_TRACES_EXPORTER: 'otlp' }, 'http://localhost:4318/v1/traces'],
    [{ [base]: 'http://c:4318', OTEL_TRACES_EXPORTER: 'none' }, null],
    [{ [base]: 'http://c:4318', OTEL_SDK_DISABLED: 'true' }, null]
  ] as const) {
    t.equal(configOf({ ...KEYS, ...env }).tracesUrl, url, JSON.stringify(env))
  }
  for (const key of [base, whole]) {
    t.equal(refusal(t, key, { ...KEYS, [key]: 'c:4318' }), `${key} must be an http(s) URL`)
  }
})
