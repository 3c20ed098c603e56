// S21: no spelling of an address is a new client, and no request goes uncounted.
import { connect } from 'node:net'
import { text } from 'node:stream/consumers'
import type { InjectOptions } from 'fastify'
import t from 'tap'
import { CLIENTS_PER_SITE } from '../../src/core/input/client-addresses.ts'
import { ON_EMBEDDED, startApp } from '../support/app.ts'
import type { Answer } from '../support/calls.ts'
import { openTestDatabase } from '../support/database.ts'
import { tally, verdictOf } from '../support/guesses.ts'
import { isProblem } from '../support/problems.ts'

const PER_MINUTE = 20
const PROXY = '127.0.0.1'
const ORIGIN = 'https://app.example.com'

const database = await openTestDatabase(t)
const service = await startApp(t, {
  database,
  listen: true,
  env: { RATE_LIMIT_PER_MINUTE: String(PER_MINUTE), TRUSTED_PROXIES: PROXY, CORS_ORIGINS: ORIGIN }
})
const { app } = service
const account = await service.createAccount()

const from = (address: string) => ({ headers: { 'x-forwarded-for': address } })
const ask = (address: string) => app.inject({ url: '/v1/users', ...from(address) })

async function each<Item>(items: readonly Item[], request: (item: Item) => Promise<Answer>) {
  const answers: Answer[] = []
  for (const item of items) answers.push(await request(item))
  return answers
}

t.test('S21: 429: an address shares one limit over all its spellings', ON_EMBEDDED, async (t) => {
  for (const spellings of [
    Array.from({ length: PER_MINUTE + 1 }, (_, port) => `192.0.2.1:${port + 1024}`),
    Array.from({ length: PER_MINUTE + 1 }, (_, port) => `[2001:db8:1:1::1]:${port + 1024}`),
    Array.from({ length: PER_MINUTE + 1 }, (_, host) => `[2001:0DB8:1:2::${host}]`),
    Array.from({ length: PER_MINUTE + 1 }, (_, zone) => `fe80::1%eth${zone}`)
  ]) {
    const answers = await each(spellings, ask)
    t.same(tally(answers), { '401 invalid-credential': PER_MINUTE, '429 rate-limited': 1 })
  }
})

t.test('429: a word that is no address counts against the proxy', ON_EMBEDDED, async (t) => {
  const words = Array.from({ length: PER_MINUTE + 1 }, (_, index) => `word-${index}`)
  t.same(tally(await each(words, ask)), {
    '401 invalid-credential': PER_MINUTE,
    '429 rate-limited': 1
  })
})

t.test(
  '429: the failed passwords of an address count over all its spellings',
  ON_EMBEDDED,
  async (t) => {
    const body = {
      account: account.slug,
      email: 'ada@example.com',
      password: 'wrong horse battery'
    }
    const login = (address: string) =>
      service.app.inject({ method: 'POST', url: '/v1/login', body, ...from(address) })
    const answers = await each(
      [1, 2, 3, 4, 5].map((port) => `192.0.2.2:${port}`),
      login
    )
    t.same(tally(answers), { '401 invalid-credentials': 4, '429 too-many-attempts': 1 })
  }
)

t.test('429: all networks of an IPv6 site share a second, larger limit', ON_EMBEDDED, async (t) => {
  const inSite = Array.from(
    { length: PER_MINUTE * CLIENTS_PER_SITE },
    (_, index) => `2001:db8:2:${(index + 1).toString(16)}::1`
  )
  t.same(tally(await each(inSite, ask)), { '401 invalid-credential': inSite.length })
  isProblem(t, await ask('2001:db8:2:ffff::1'), 429, 'rate-limited')
  t.equal(verdictOf(await ask('2001:db8:3::1')), '401 invalid-credential', 'another site')
})

t.test(
  '429: failed passwords from many networks of a site lead to a wait for the site',
  ON_EMBEDDED,
  async (t) => {
    const body = {
      account: account.slug,
      email: 'ben@example.com',
      password: 'wrong horse battery'
    }
    const login = (address: string) =>
      service.app.inject({ method: 'POST', url: '/v1/login', body, ...from(address) })
    const inSite = Array.from(
      { length: 4 * CLIENTS_PER_SITE },
      (_, index) => `2001:db8:4:${(index + 1).toString(16)}::1`
    )
    t.same(tally(await each(inSite, login)), { '401 invalid-credentials': inSite.length })
    isProblem(t, await login('2001:db8:4:ffff::1'), 429, 'too-many-attempts')
  }
)

t.test('429: a flood from many addresses resets no counter', ON_EMBEDDED, async (t) => {
  const spender = '192.0.2.3'
  await each(Array.from({ length: PER_MINUTE }), () => ask(spender))
  const flood = Array.from({ length: 6000 }, (_, index) => `203.0.${index >> 8}.${index & 255}`)
  await each(flood, (address) => app.inject({ url: '/nothing', ...from(address) }))
  isProblem(t, await ask(spender), 429, 'rate-limited')
})

t.test('429: every kind of request is counted', ON_EMBEDDED, async (t) => {
  const preflight = { origin: ORIGIN, 'access-control-request-method': 'GET' }
  const forms: Record<string, InjectOptions> = {
    'a malformed URL': { url: '/v1/users/%E0%A4%A' },
    'an id of 5,000 characters': { url: `/v1/users/${'a'.repeat(5000)}` },
    'a preflight': { method: 'OPTIONS', url: '/v1/users', headers: preflight },
    OPTIONS: { method: 'OPTIONS', url: '/v1/nothing' },
    'an unknown expectation': { url: '/v1/users', headers: { expect: 'tea' } }
  }
  let host = 0
  for (const [name, form] of Object.entries(forms)) {
    host += 1
    const address = `198.51.100.${host}`
    const headers = { ...form.headers, ...from(address).headers }
    const answers = await each(Array.from({ length: PER_MINUTE + 1 }), () =>
      app.inject({ ...form, headers })
    )
    t.equal(answers.at(-2)?.statusCode === 429, false, name)
    isProblem(t, answers.at(-1) as Answer, 429, 'rate-limited')
  }
})

t.test('400: a URL that can’t be decoded, and a long id', ON_EMBEDDED, async (t) => {
  isProblem(
    t,
    await app.inject({ url: '/v1/users/%E0%A4%A', ...from('192.0.2.8') }),
    400,
    'invalid-request'
  )
  const as = account.apiKey
  isProblem(
    t,
    await service.call('GET', `/v1/users/${'a'.repeat(5000)}`, { as }),
    400,
    'invalid-request'
  )
})

t.test('the preflights of an address leave its other requests alone', ON_EMBEDDED, async (t) => {
  const address = '192.0.2.4'
  const headers = {
    origin: ORIGIN,
    'access-control-request-method': 'GET',
    ...from(address).headers
  }
  const preflights = await each(Array.from({ length: PER_MINUTE }), () =>
    app.inject({ method: 'OPTIONS', url: '/v1/users', headers })
  )
  t.same(tally(preflights), { '204': PER_MINUTE })
  t.equal(verdictOf(await ask(address)), '401 invalid-credential')
})

t.test('audit events and logs show one spelling of an address', ON_EMBEDDED, async (t) => {
  const body = { account: account.slug, email: 'eve@example.com', password: 'wrong horse battery' }
  await service.call('POST', '/v1/login', { body, from: '::ffff:192.0.2.9' })
  await app.inject({
    method: 'POST',
    url: '/v1/login',
    body,
    ...from('[2001:DB8:5::1]:4711')
  })
  const events = await database.prisma.auditEvent.findMany({ where: { type: 'sign_in.password' } })
  const addresses = new Set(events.map(({ address }) => address))
  t.ok(addresses.has('2001:db8:5::1'), 'behind a proxy')
  t.notOk([...addresses].some((address) => /[[\]%]|^::ffff:/.test(address)))
  t.ok(service.logged.some((line) => line.includes('"remoteAddress":"2001:db8:5::1"')))
})

t.test(
  'one warning: X-Forwarded-For from a peer that is no trusted proxy',
  ON_EMBEDDED,
  async (t) => {
    const other = await startApp(t, { database, clock: service.clock })
    for (const peer of ['10.0.0.1', '::ffff:10.0.0.1', '10.0.0.2']) {
      await other.call('GET', '/health/live', { ...from('192.0.2.5'), from: peer })
    }
    const warnings = other.logged
      .map((line) => JSON.parse(line))
      .filter(({ level }) => level === 40)
    t.match(warnings, [
      { peer: '10.0.0.1', setting: 'TRUSTED_PROXIES', msg: /^X-Forwarded-For ignored/ }
    ])
    t.notOk(
      service.logged.some((line) => line.includes('X-Forwarded-For ignored')),
      'a trusted one'
    )
  }
)

for (const [status, code, request] of [
  [400, 'invalid-request', 'GET /v1/users HTTP/1.1\r\nHost: a\r\nHost: b'],
  [400, 'invalid-request', 'GET /v1/users HTTP/1.1\r\nHost: a\r\nhost: a'],
  [417, 'expectation-failed', 'GET /v1/users HTTP/1.1\r\nHost: a\r\nExpect: tea'],
  [401, 'invalid-credential', 'GET /v1/users HTTP/1.1\r\nHost: a\r\nExpect: 100-Continue'],
  [401, 'invalid-credential', 'GET /v1/users HTTP/1.0\r\nExpect: tea']
] as const) {
  t.test(`${status}: ${request.replaceAll('\r\n', ', ')}`, ON_EMBEDDED, async (t) => {
    const socket = connect(Number(new URL(service.url).port), PROXY)
    socket.write(`${request}\r\nX-Forwarded-For: 192.0.2.6\r\nConnection: close\r\n\r\n`)
    const response = await text(socket)
    t.match(response, new RegExp(`HTTP/1.1 ${status} [^]*application/problem\\+json[^]*"${code}"`))
  })
}
