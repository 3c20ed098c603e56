// S8, S21: limits on requests. The window is a minute of the machine's clock, which a test cannot advance, so every test
// uses addresses of its own.
import t, { type Test } from 'tap'
import { ON_SERVER, OPERATOR_KEY, startApp, UNKNOWN } from '../support/app.ts'
import type { Answer, Call } from '../support/calls.ts'
import { openTestDatabase } from '../support/database.ts'
import { tally, verdictOf, wrongCode } from '../support/guesses.ts'
import { isProblem } from '../support/problems.ts'
import { actsOn, MAIL_WAITS, mailsTo } from '../support/records.ts'

const PER_MINUTE = 20
const PER_MINUTE_OF_USER = 5
const PROXY = '127.0.0.1'

const database = await openTestDatabase(t)
const env = { ...MAIL_WAITS, RATE_LIMIT_PER_MINUTE: String(PER_MINUTE) }
/** Behind a trusted proxy: a header names the address of the caller. */
const behindProxy = await startApp(t, { database, env: { ...env, TRUSTED_PROXIES: PROXY } })
const inTheOpen = await startApp(t, { database, env, clock: behindProxy.clock })
/** A replica whose limits on requests no test reaches. */
const { clock, ...service } = await startApp(t, {
  database,
  env: { TRUSTED_PROXIES: PROXY },
  clock: behindProxy.clock
})

const account = await service.createAccount()
const strict = await service.createAccount()
await service.changePolicy(strict, { twoFactor: 'required' })

let addresses = 0
/** Returns an address that no request has come from. */
function newAddress(): string {
  addresses += 1
  return `198.51.${Math.floor(addresses / 250)}.${(addresses % 250) + 1}`
}

const from = (address: string): Call => ({ headers: { 'x-forwarded-for': address } })
const wrongBody = { body: { 'no such member': 1 } }

/** Sends this number of requests, one after the other. */
async function ask(count: number, request: () => Promise<Answer>): Promise<Answer[]> {
  const answers: Answer[] = []
  for (let index = 0; index < count; index += 1) answers.push(await request())
  return answers
}

/** Asserts that the last request exceeded the limit, and no earlier one did. */
function onlyLastIsLimited(t: Test, answers: Answer[], limit: number, message: string): void {
  const last = answers.at(-1)
  if (!last) throw new Error('no responses')
  t.equal(tally(answers.slice(0, -1))['429 rate-limited'], undefined, message)
  isProblem(t, last, 429, 'rate-limited')
  const { 'retry-after': retryAfter, 'ratelimit-reset': reset, ...headers } = last.headers
  t.match(headers, { 'ratelimit-limit': String(limit), 'ratelimit-remaining': '0' }, message)
  for (const seconds of [retryAfter, reset].map(Number)) {
    t.ok(seconds >= 1 && seconds <= 60, `${message}: within the minute`, { seconds })
  }
}

t.test(
  '429: an address is limited on each route by itself, before any other check',
  ON_SERVER,
  async (t) => {
    for (const [method, url] of [
      ['POST', '/v1/login'],
      ['POST', '/v1/login/assertion'],
      ['POST', '/v1/verify'],
      ['POST', '/v1/enroll'],
      ['POST', '/v1/enroll/confirm'],
      ['GET', '/v1/users'],
      ['PATCH', '/v1/users/me'],
      ['POST', '/v1/users/me/recovery-codes'],
      ['GET', '/v1/policy'],
      ['POST', '/v1/accounts'],
      ['POST', '/v1/api-keys'],
      ['POST', '/v1/introspect'],
      ['GET', '/.well-known/jwks.json'],
      ['GET', '/.well-known/oauth-authorization-server'],
      ['GET', '/openapi.yaml'],
      ['GET', '/docs/problems']
    ] as const) {
      const call = { ...from(newAddress()), ...(method === 'GET' ? {} : wrongBody) }
      const answers = await ask(PER_MINUTE + 1, () => behindProxy.call(method, url, call))
      onlyLastIsLimited(t, answers, PER_MINUTE, `${method} ${url}`)
    }
    const headers = from(newAddress()).headers ?? {}
    const unknown = await ask(PER_MINUTE + 1, () =>
      behindProxy.app.inject({ url: '/nothing/here', headers })
    )
    onlyLastIsLimited(t, unknown, PER_MINUTE, 'a path that does not exist')
  }
)

t.test(
  '429: the requests of an address count over all routes, and the headers count down',
  ON_SERVER,
  async (t) => {
    const call = from(newAddress())
    const paths = ['/v1/users', '/v1/policy', '/.well-known/jwks.json', '/docs/problems']
    const answers: Answer[] = []
    for (let index = 0; index <= PER_MINUTE; index += 1) {
      answers.push(await behindProxy.call('GET', paths[index % paths.length] ?? '', call))
    }
    onlyLastIsLimited(t, answers, PER_MINUTE, 'over all routes')
    t.same(
      answers.map(({ headers }) => headers['ratelimit-remaining']),
      answers.map((_, index) => String(Math.max(0, PER_MINUTE - 1 - index)))
    )
    const other = await behindProxy.call('GET', '/v1/users', from(newAddress()))
    t.equal(verdictOf(other), '401 invalid-credential', 'another address is not limited')
  }
)

t.test('200: probes have no limit', ON_SERVER, async (t) => {
  const call = from(newAddress())
  const answers = await ask(PER_MINUTE * 2, () => behindProxy.call('GET', '/health/live', call))
  t.same(tally(answers), { '200': PER_MINUTE * 2 })
  t.equal(answers[0]?.headers['ratelimit-limit'], undefined)
})

t.test(
  '429: a user is limited at each address, before the code is judged',
  ON_SERVER,
  async (t) => {
    const user = await service.enrolledUser({ account })
    const setUp = await service.createUser({ account: strict })
    for (const [url, holder, body] of [
      ['/v1/verify', user, { code: wrongCode(user, clock.now()) }],
      ['/v1/enroll', setUp, {}],
      [
        '/v1/enroll/confirm',
        await service.createUser({ account: strict }),
        { authenticatorId: UNKNOWN, code: '000000' }
      ]
    ] as const) {
      const address = newAddress()
      const answers: Answer[] = []
      for (let index = 0; index <= PER_MINUTE_OF_USER; index += 1) {
        // Another token has no budget of its own.
        const as = await service.assertedToken(holder)
        answers.push(await behindProxy.call('POST', url, { as, ...from(address), body }))
      }
      onlyLastIsLimited(t, answers, PER_MINUTE_OF_USER, url)
      const as = await service.assertedToken(holder)
      const again = { as, ...from(address), ...wrongBody }
      isProblem(t, await behindProxy.call('POST', url, again), 429, 'rate-limited')
    }

    const as = await service.assertedToken(user)
    const body = { code: user.codeAt(clock.now()) }
    const elsewhere = { as, body, ...from(newAddress()) }
    t.equal(verdictOf(await behindProxy.call('POST', '/v1/verify', elsewhere)), '200')
  }
)

t.test('200: malformed bodies use up nothing of the user', ON_SERVER, async (t) => {
  const user = await service.enrolledUser({ account })
  const as = await service.assertedToken(user)
  const address = newAddress()
  for (const [url, body] of [
    ['/v1/verify', {}],
    ['/v1/verify', { code: '12345' }],
    ['/v1/verify', '{"code":'],
    ['/v1/verify', { code: '123456', recoveryCode: 'x' }],
    ['/v1/verify', undefined]
  ] as const) {
    const call = { as, body, ...from(address), headers: { ...from(address).headers } }
    const answers = await ask(3, () => behindProxy.call('POST', url, call))
    t.notOk(tally(answers)['429 rate-limited'], JSON.stringify(body))
  }
  const right = { as, body: { code: user.codeAt(clock.now()) }, ...from(address) }
  t.equal(verdictOf(await behindProxy.call('POST', '/v1/verify', right)), '200')
})

t.test('429: all addresses of a user share a second, larger limit', ON_SERVER, async (t) => {
  const user = await service.createUser({ account: strict })
  const as = await service.assertedToken(user)
  const answers: Answer[] = []
  for (let place = 0; place < 20; place += 1) {
    const call = { as, body: {}, ...from(newAddress()) }
    answers.push(
      ...(await ask(PER_MINUTE_OF_USER, () => behindProxy.call('POST', '/v1/enroll', call)))
    )
  }
  t.same(tally(answers), { '201': 20 * PER_MINUTE_OF_USER })
  const beyond = { as, body: {}, ...from(newAddress()) }
  isProblem(t, await behindProxy.call('POST', '/v1/enroll', beyond), 429, 'rate-limited')
})

t.test('429: a spent share is audited once and notifies the user once', ON_SERVER, async (t) => {
  const user = await service.createUser({ account: strict })
  const as = await service.assertedToken(user)
  const address = newAddress()
  const call = { as, body: {}, ...from(address) }
  await ask(PER_MINUTE_OF_USER + 5, () => behindProxy.call('POST', '/v1/enroll', call))
  const acts = await actsOn(behindProxy, user.id, 'authenticator.enroll')
  t.same(
    acts.filter((act) => act.includes('refused')),
    ['authenticator.enroll refused: rate-limited']
  )
  t.same(await mailsTo(behindProxy, user.email, 'many_second_steps'), [
    { kind: 'many_second_steps', details: {}, address }
  ])
})

t.test('200: the limit on codes does not limit the user on other routes', ON_SERVER, async (t) => {
  const user = await service.enrolledUser({ account })
  const as = await user.accessToken()
  const address = newAddress()
  const codes = { as, body: { code: wrongCode(user, clock.now()) }, ...from(address) }
  const answers = await ask(PER_MINUTE_OF_USER + 1, () =>
    behindProxy.call('POST', '/v1/verify', codes)
  )
  onlyLastIsLimited(t, answers, PER_MINUTE_OF_USER, 'codes')
  const me = await behindProxy.call('GET', '/v1/users/me', { as, ...from(address) })
  t.equal(verdictOf(me), '200')
})

t.test(
  'S8: another spelling of a bearer is the same user and the same step token',
  ON_SERVER,
  async (t) => {
    const user = await service.enrolledUser({ account })
    const stepToken = await service.assertedToken(user)
    const spellings = spellingsOf(stepToken)
    t.ok(spellings.length > 1)
    const answers: Answer[] = []
    for (let index = 0; index < 12; index += 1) {
      const spelling = spellings[index % spellings.length] ?? ''
      answers.push(await service.verify(spelling, wrongCode(user, clock.now())))
    }
    const judged = answers.filter(({ statusCode }) => statusCode === 422)
    t.equal(judged.length, 5, 'five codes for all spellings', tally(answers))

    const address = newAddress()
    const requests = await ask(PER_MINUTE_OF_USER * 2, async () => {
      const as = spellings[Math.floor(Math.random() * spellings.length)] ?? ''
      const body = { code: wrongCode(user, clock.now()) }
      return behindProxy.call('POST', '/v1/verify', { as, body, ...from(address) })
    })
    const { '429 too-many-attempts': admitted = 0 } = tally(requests)
    t.ok(admitted <= PER_MINUTE_OF_USER, 'one limit for all spellings', tally(requests))

    const fresh = await service.assertedToken(user)
    t.equal(verdictOf(await service.verify(fresh, user.codeAt(clock.now()))), '200')
    for (const spelling of spellingsOf(fresh)) {
      const again = await service.verify(spelling, user.codeAt(clock.now()))
      t.equal(verdictOf(again), '401 invalid-credential', 'used up in every spelling')
    }
  }
)

t.test(
  'requests with a valid API key or operator key are not counted by address, others are',
  ON_SERVER,
  async (t) => {
    const address = newAddress()
    const calls = [
      { as: account.apiKey, url: '/v1/users' },
      { as: OPERATOR_KEY, url: '/v1/accounts' }
    ]
    for (const { as, url } of calls) {
      const answers = await ask(PER_MINUTE * 2, () =>
        behindProxy.call('GET', url, { as, ...from(address) })
      )
      t.same(tally(answers), { '200': PER_MINUTE * 2 })
    }
    const first = await behindProxy.call('GET', '/v1/users', from(address))
    t.equal(
      first.headers['ratelimit-remaining'],
      String(PER_MINUTE - 1),
      'no earlier request was counted'
    )

    for (const as of [account.apiKey, OPERATOR_KEY].map((key) => `${key.slice(0, -2)}zz`)) {
      const call = { as, ...from(newAddress()) }
      const answers = await ask(PER_MINUTE + 1, () => behindProxy.call('GET', '/v1/accounts', call))
      onlyLastIsLimited(t, answers, PER_MINUTE, 'a wrong key')
    }
  }
)

t.test('S21: X-Forwarded-For is trusted only from a listed proxy', ON_SERVER, async (t) => {
  const claims = () => from(newAddress())
  const untrusting = await ask(PER_MINUTE + 1, () => inTheOpen.call('GET', '/v1/users', claims()))
  onlyLastIsLimited(t, untrusting, PER_MINUTE, 'no proxy is listed')
  const elsewhere = { ...claims(), from: '203.0.113.7' }
  const other = await inTheOpen.call('GET', '/v1/users', elsewhere)
  t.equal(
    other.headers['ratelimit-remaining'],
    String(PER_MINUTE - 1),
    'the address of the socket counts'
  )

  const unlisted = await ask(PER_MINUTE + 1, () =>
    behindProxy.call('GET', '/v1/users', { ...claims(), from: '203.0.113.8' })
  )
  onlyLastIsLimited(t, unlisted, PER_MINUTE, 'another proxy is listed')

  const real = newAddress()
  const forged = await ask(PER_MINUTE + 1, () =>
    behindProxy.call('GET', '/v1/users', from(`${newAddress()}, ${real}`))
  )
  onlyLastIsLimited(t, forged, PER_MINUTE, 'the last address counts, which the proxy wrote')
})

t.test(
  'S21: an IPv6 network of /64 counts as one address, and a mapped IPv4 address as its IPv4 address',
  ON_SERVER,
  async (t) => {
    for (const [name, spellings, stranger] of [
      [
        'a /64',
        ['2001:db8:1:2::1', '2001:DB8:1:2:ffff:0:0:9', '2001:db8:1:2:3::'],
        '2001:db8:1:3::1'
      ],
      ['mapped', ['192.0.2.7', '::ffff:192.0.2.7', '::FFFF:c000:207'], '::ffff:192.0.2.8']
    ] as const) {
      for (const arrival of [from, (address: string): Call => ({ from: address })]) {
        const app = arrival === from ? behindProxy : inTheOpen
        let asked = 0
        const answers = await ask(PER_MINUTE + 1, () => {
          asked += 1
          const address = spellings[asked % spellings.length] ?? ''
          return app.call('GET', '/v1/users', arrival(address))
        })
        onlyLastIsLimited(t, answers, PER_MINUTE, name)
        const other = await app.call('GET', '/v1/users', arrival(stranger))
        t.equal(
          other.headers['ratelimit-remaining'],
          String(PER_MINUTE - 1),
          `${name}: the neighbour has its own limit`
        )
      }
    }
  }
)

t.test('S21: no value of X-Forwarded-For causes a 5xx', ON_SERVER, async (t) => {
  for (const address of [
    'unknown',
    '_hidden',
    'fe80::1%eth0',
    '192.0.2.1:4711',
    '[2001:db8::1]:4711',
    '::ffff:999.1.1.1',
    '%',
    ',',
    ' , ,',
    '127.0.0.1, 127.0.0.1',
    'a'.repeat(4000)
  ]) {
    const answer = await behindProxy.call('GET', '/v1/users', from(address))
    t.match(verdictOf(answer), /^(401 invalid-credential|429 rate-limited)$/, address)
  }
  const linkLocal = await inTheOpen.call('GET', '/v1/users', { from: 'fe80::1%eth0' })
  t.equal(verdictOf(linkLocal), '401 invalid-credential')
})

t.test(
  'RATE_LIMIT_PER_MINUTE sets the limit of an address and scales the limit of a user',
  ON_SERVER,
  async (t) => {
    const user = await service.enrolledUser({ account })
    const as = await service.assertedToken(user)
    for (const [perMinute, ofUser] of [
      [8, 2],
      [4, 1]
    ] as const) {
      const small = await startApp(t, {
        ...{ database, clock },
        env: { RATE_LIMIT_PER_MINUTE: String(perMinute), TRUSTED_PROXIES: PROXY }
      })
      const call = from(newAddress())
      const requests = await ask(perMinute + 1, () => small.call('GET', '/v1/users', call))
      onlyLastIsLimited(t, requests, perMinute, 'of an address')
      const body = { code: wrongCode(user, clock.now()) }
      const place = from(newAddress())
      const codes = await ask(ofUser + 1, () =>
        small.call('POST', '/v1/verify', { as, body, ...place })
      )
      onlyLastIsLimited(t, codes, ofUser, 'of a user')
    }
  }
)

/** Returns every spelling of a JWT with the same signature bytes: the last character has unused bits. */
function spellingsOf(token: string): string[] {
  const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_'
  const [, , signature = ''] = token.split('.')
  const bytes = Buffer.from(signature, 'base64url')
  const last = [...alphabet].filter((character) =>
    Buffer.from(signature.slice(0, -1) + character, 'base64url').equals(bytes)
  )
  return [...last.map((character) => token.slice(0, -1) + character), `${token}=`]
}
