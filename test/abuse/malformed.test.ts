// S19: whatever is sent instead of a request, over every route that takes input: a 4xx problem that names what is
// wrong, never a 5xx, and never an attempt spent.
import { connect } from 'node:net'
import { gzipSync } from 'node:zlib'
import t from 'tap'
import { type Answer, ON_SERVER, OPERATOR_KEY, PASSWORD, startApp } from '../support/app.ts'
import { isProblem, pointersOf } from '../support/problems.ts'

const service = await startApp(t)
const { call, clock, createAccount, createUser, database, enrolledUser } = service
const { assertedToken, verify } = service

const UUID = '0198c0de-7a51-7cc2-9a3b-5b1d0c4f2e11'
const JSON_TYPE = 'application/json'
const REFUSALS = [400, 404, 413, 415]
const REFUSAL_CODES = [
  'invalid-request',
  'not-found',
  'user-not-found',
  'account-not-found',
  'body-too-large',
  'unsupported-media-type'
]

const account = await createAccount()
const admin = await enrolledUser({ account, role: 'admin' })
const user = await createUser({ account })
const stepToken = await admin.stepToken()
const { apiKey } = account
const newcomer = await assertedToken(await createUser({ account }))
const self = await admin.accessToken()

interface Route {
  method: 'POST' | 'PATCH'
  path: string
  as?: string
  /** A body that is of the right form. */
  body: Record<string, unknown>
  headers?: Record<string, string>
  /** Other media types than JSON that it reads. */
  reads?: string[]
  /** Whether it may come without a body. */
  isBodyOptional?: true
}

const ROUTES: Route[] = [
  {
    method: 'POST',
    path: '/v1/login',
    body: { account: 'acme', email: 'ada@example.com', password: PASSWORD, deviceToken: 'x' }
  },
  {
    method: 'POST',
    path: '/v1/login/assertion',
    as: apiKey,
    body: { userId: UUID, firstFactor: 'pwd', deviceToken: 'x' }
  },
  {
    method: 'POST',
    path: '/v1/login/assertion',
    as: apiKey,
    body: { email: 'ada@example.com', firstFactor: 'sso' }
  },
  {
    method: 'POST',
    path: '/v1/verify',
    as: stepToken,
    body: { code: '123456', rememberDevice: true }
  },
  { method: 'POST', path: '/v1/verify', as: self, body: { recoveryCode: 'AAAA-BBBB' } },
  {
    method: 'POST',
    path: '/v1/enroll',
    as: newcomer,
    body: { name: 'Phone', replaces: UUID, qr: 'png' },
    isBodyOptional: true
  },
  {
    method: 'POST',
    path: '/v1/enroll/confirm',
    as: newcomer,
    body: { authenticatorId: UUID, code: '123456' }
  },
  {
    method: 'POST',
    path: '/v1/users',
    as: apiKey,
    body: { email: 'new@example.com', password: PASSWORD, role: 'member', externalId: 'x' }
  },
  {
    method: 'PATCH',
    path: `/v1/users/${user.id}`,
    as: apiKey,
    body: { email: 'new@example.com', password: PASSWORD, role: 'member', disabled: false }
  },
  {
    method: 'PATCH',
    path: '/v1/users/me',
    as: self,
    body: { password: 'another good password', currentPassword: PASSWORD }
  },
  {
    method: 'PATCH',
    path: `/v1/users/me/authenticators/${admin.authenticatorId}`,
    as: self,
    body: { name: 'Phone' }
  },
  {
    method: 'PATCH',
    path: '/v1/policy',
    as: apiKey,
    headers: { 'if-match': '"0"' },
    body: { twoFactor: 'optional' },
    reads: ['application/merge-patch+json']
  },
  {
    method: 'POST',
    path: '/v1/accounts',
    as: OPERATOR_KEY,
    body: { slug: 'new', name: 'New', audience: 'https://api.new.example' }
  },
  {
    method: 'PATCH',
    path: `/v1/accounts/${account.id}`,
    as: OPERATOR_KEY,
    body: { name: 'New', audience: 'https://api.new.example' }
  },
  {
    method: 'POST',
    path: '/v1/api-keys',
    as: apiKey,
    body: {
      name: 'New',
      scopes: ['users:read'],
      expiresAt: '2030-01-01T00:00:00Z',
      accountId: UUID
    }
  },
  {
    method: 'POST',
    path: '/v1/introspect',
    as: apiKey,
    body: { token: 'x' },
    reads: ['application/x-www-form-urlencoded']
  }
]

interface Form {
  name: string
  /** The body as it is sent. */
  sent(route: Route): string | Buffer | undefined
  mediaType?: string
  headers?: Record<string, string>
  status: number
}

const json = ({ body }: Route) => JSON.stringify(body)
const nested = (depth: number, open: string, close: string) =>
  open.repeat(depth) + close.repeat(depth)
const withMember = (member: string) => (route: Route) => json(route).replace('{', `{${member},`)
const utf16 = (route: Route) => Buffer.from(json(route), 'utf16le')

/** What is no request on any route. */
const FORMS: Form[] = [
  { name: 'no body at all', sent: () => undefined, status: 400 },
  { name: 'an empty body', sent: () => '', mediaType: JSON_TYPE, status: 400 },
  { name: 'white space', sent: () => ' \r\n\t', status: 400 },
  { name: 'null', sent: () => 'null', status: 400 },
  { name: 'an empty list', sent: () => '[]', status: 400 },
  { name: 'the body in a list', sent: (route) => `[${json(route)}]`, status: 400 },
  { name: 'the body in a string', sent: (route) => JSON.stringify(json(route)), status: 400 },
  { name: 'a number', sent: () => '1', status: 400 },
  { name: 'a number beyond all', sent: () => '1e999', status: 400 },
  { name: 'true', sent: () => 'true', status: 400 },
  { name: 'an open brace', sent: () => '{', status: 400 },
  { name: 'a body cut off', sent: (route) => json(route).slice(0, -1), status: 400 },
  { name: 'something after the body', sent: (route) => `${json(route)}{}`, status: 400 },
  { name: 'single quotes', sent: (route) => json(route).replaceAll('"', "'"), status: 400 },
  { name: 'a trailing comma', sent: (route) => json(route).replace(/}$/, ',}'), status: 400 },
  { name: 'a comment', sent: (route) => `/**/${json(route)}`, status: 400 },
  { name: 'NaN', sent: withMember('"more":NaN'), status: 400 },
  { name: 'a raw NUL', sent: (route) => `${json(route)}\u0000`, status: 400 },
  {
    name: 'bytes that are not UTF-8',
    sent: () => Buffer.from([0xc3, 0x28, 0xff, 0xfe]),
    status: 400
  },
  { name: 'UTF-16', sent: utf16, status: 400 },
  {
    name: 'UTF-16 that says so',
    sent: utf16,
    mediaType: `${JSON_TYPE}; charset=utf-16`,
    status: 400
  },
  {
    name: 'gzip',
    sent: (route) => gzipSync(json(route)),
    headers: { 'content-encoding': 'gzip' },
    status: 400
  },
  { name: '__proto__', sent: withMember('"__proto__":{"role":"admin"}'), status: 400 },
  {
    name: '__proto__ in disguise',
    sent: withMember('"\\u005f_proto__":{"role":"admin"}'),
    status: 400
  },
  { name: 'constructor', sent: withMember('"constructor":{"prototype":{"a":1}}'), status: 400 },
  { name: 'toString', sent: withMember('"toString":"x"'), status: 400 },
  { name: 'an unknown member', sent: withMember('"isAdmin":true'), status: 400 },
  { name: 'an unknown member that is empty', sent: withMember('"":""'), status: 400 },
  { name: 'an unknown member with NUL', sent: withMember('"\\u0000":1'), status: 400 },
  { name: 'an unknown number beyond all', sent: withMember('"more":1e999'), status: 400 },
  { name: 'an emoji for a member', sent: withMember('"🔑":"🔓"'), status: 400 },
  { name: 'lists 8000 deep', sent: () => nested(8000, '[', ']'), status: 400 },
  {
    name: 'objects 2000 deep',
    sent: () => `${'{"a":'.repeat(2000)}1${'}'.repeat(2000)}`,
    status: 400
  },
  { name: 'a member 2000 deep', sent: withMember(`"a":${nested(2000, '[', ']')}`), status: 400 },
  {
    name: 'one byte more than 16 KiB',
    sent: (route) => json(route).padEnd(16 * 1024 + 1),
    status: 413
  },
  { name: 'one MiB', sent: () => `{"a":"${'x'.repeat(1024 * 1024)}"}`, status: 413 },
  { name: 'plain text', sent: json, mediaType: 'text/plain', status: 415 },
  { name: 'XML', sent: () => '<code>123456</code>', mediaType: 'application/xml', status: 415 },
  {
    name: 'a form',
    sent: () => 'code=123456',
    mediaType: 'application/x-www-form-urlencoded',
    status: 415
  },
  {
    name: 'a multipart form',
    sent: () => '--x--',
    mediaType: 'multipart/form-data; boundary=x',
    status: 415
  },
  { name: 'a merge patch', sent: json, mediaType: 'application/merge-patch+json', status: 415 },
  { name: 'JSON of another kind', sent: json, mediaType: 'application/vnd.api+json', status: 415 },
  {
    name: 'a media type that begins right',
    sent: json,
    mediaType: 'application/jsonp',
    status: 415
  },
  { name: 'two media types', sent: json, mediaType: 'application/json, text/plain', status: 415 },
  { name: 'no media type', sent: json, mediaType: '', status: 415 },
  { name: 'half a media type', sent: json, mediaType: 'json', status: 415 },
  { name: 'a media type in brackets', sent: json, mediaType: '[object Object]', status: 415 }
]

for (const { name, sent, mediaType = JSON_TYPE, headers, status } of FORMS) {
  t.test(`${status}: ${name}`, async (t) => {
    for (const route of ROUTES) {
      if (route.reads?.some((read) => mediaType.startsWith(read))) continue
      const { method, path, as } = route
      const body = sent(route)
      if (body === undefined && route.isBodyOptional) continue
      const answer = await call(method, path, {
        body,
        ...(as && { as }),
        headers: {
          ...route.headers,
          ...headers,
          ...(body !== undefined && mediaType !== '' && { 'content-type': mediaType })
        }
      })
      isRefused(t, answer, status, `${method} ${path}`)
    }
  })
}

/** In the place of a string. */
const NO_STRINGS: [string, unknown][] = [
  ['null', null],
  ['a number', 123456],
  ['zero', 0],
  ['true', true],
  ['a list', ['123456']],
  ['an object', { $ne: '' }],
  ['an empty string', ''],
  ['NUL', '12345\u0000'],
  ['20,000 characters', 'x'.repeat(10_000)]
]

for (const [name, value] of NO_STRINGS) {
  t.test(`400: ${name} in the place of a string`, async (t) => {
    for (const { method, path, as, body, headers } of ROUTES) {
      for (const [member, right] of Object.entries(body)) {
        if (typeof right !== 'string') continue
        const answer = await call(method, path, {
          body: { ...body, [member]: value },
          ...(as && { as }),
          ...(headers && { headers })
        })
        const [pointer] = pointersOf(isProblem(t, answer, 400, 'invalid-request'))
        t.equal(pointer, `/${member}`, `${method} ${path} names the member`)
      }
    }
  })
}

/** What is not the value of that one member, wherever it occurs. */
const WRONG_VALUES: Record<string, unknown[]> = {
  code: [
    '12345',
    '1234567',
    ' 123456',
    '123 456',
    '12345６',
    '１２３４５６',
    '١٢٣٤٥٦',
    '१२३४५६',
    '𝟏𝟐𝟑𝟒𝟓𝟔',
    '1e5000',
    '+12345',
    '-12345',
    '0x1234',
    '12345\n',
    '123456\n',
    '\ufeff123456',
    '😀😀😀'
  ],
  recoveryCode: [
    'AAAA_BBBB',
    'AAAA–BBBB',
    'ＡＡＡＡ',
    'a'.repeat(65),
    '😀',
    "' OR 1=1 --",
    'AAAA\n'
  ],
  email: [
    'ada',
    '@example.com',
    'ada@',
    'a b@example.com',
    'ada@example.com\n',
    `${'a'.repeat(250)}@b.co`
  ],
  userId: [
    'me',
    '1',
    UUID.slice(1),
    `${UUID}0`,
    `{${UUID}}`,
    `urn:uuid:${UUID}`,
    UUID.replaceAll('-', '')
  ],
  authenticatorId: ['me', `urn:uuid:${UUID}`, `${UUID}\n`],
  accountId: ['acme', `urn:uuid:${UUID}`],
  role: ['owner', 'Admin', 'admin '],
  firstFactor: ['otp', 'PWD', 'pwd,sso'],
  qr: ['gif', 'PNG'],
  twoFactor: ['Required', 'off', true],
  rememberDevice: ['true', 1, 0, null, 'yes'],
  disabled: ['false', 0, null, []],
  scopes: ['users:read', {}, null, [['users:read']], ['users:read', null], ['users:*'], [1]],
  expiresAt: [
    'tomorrow',
    '2030-01-01',
    '2030-13-01T00:00:00Z',
    1_900_000_000,
    '2030-01-01T00:00:00'
  ],
  slug: ['Acme', 'a', 'ä', 'a/b', '../x', 'аcme'],
  account: ['Acme', '*', "' OR 1=1 --", '%'],
  audience: ['with space', 'ä', '\t'],
  name: ['a\nb', 'a\u007fb', 'x'.repeat(101)]
}

for (const [member, values] of Object.entries(WRONG_VALUES)) {
  t.test(`400: ${values.length} values that are no ${member}`, async (t) => {
    const routes = ROUTES.filter(({ body }) => member in body)
    t.ok(routes.length > 0)
    for (const { method, path, as, body, headers } of routes) {
      for (const value of values) {
        const answer = await call(method, path, {
          body: { ...body, [member]: value },
          ...(as && { as }),
          ...(headers && { headers })
        })
        const [pointer = ''] = pointersOf(isProblem(t, answer, 400, 'invalid-request'))
        t.ok(pointer.startsWith(`/${member}`), `${path}: ${JSON.stringify(value)}`)
      }
    }
  })
}

t.test('400: both of two that exclude each other, and neither', ON_SERVER, async (t) => {
  for (const [path, as, body] of [
    ['/v1/verify', stepToken, { code: '123456', recoveryCode: 'AAAA-BBBB' }],
    ['/v1/verify', stepToken, { rememberDevice: true }],
    ['/v1/verify', stepToken, {}],
    ['/v1/login/assertion', apiKey, { userId: UUID, email: 'a@example.com', firstFactor: 'pwd' }],
    ['/v1/login/assertion', apiKey, { firstFactor: 'pwd' }],
    ['/v1/enroll/confirm', newcomer, {}],
    ['/v1/login', '', {}],
    ['/v1/users', apiKey, {}],
    [`/v1/api-keys`, apiKey, {}]
  ] as const) {
    const answer = await call('POST', path, { body, ...(as && { as }) })
    t.ok(pointersOf(isProblem(t, answer, 400, 'invalid-request')).length > 0, path)
  }
})

t.test('400: of a member given twice the last one counts, and is judged', ON_SERVER, async (t) => {
  const headers = { 'content-type': JSON_TYPE }
  const body = '{"code":"123456","code":123456}'
  const answer = await call('POST', '/v1/verify', { as: stepToken, body, headers })
  t.same(pointersOf(isProblem(t, answer, 400, 'invalid-request')), ['/code'])
})

t.test('400: queries that ask for no page of this list', ON_SERVER, async (t) => {
  const cursorOfUsers = await nextCursorOf('/v1/users', apiKey)
  const lists = [
    ['/v1/users', apiKey],
    ['/v1/api-keys', apiKey],
    ['/v1/accounts', OPERATOR_KEY]
  ] as const
  for (const [path, as] of lists) {
    for (const [query, pointer] of [
      ['limit=0', '/limit'],
      ['limit=-1', '/limit'],
      ['limit=201', '/limit'],
      ['limit=abc', '/limit'],
      ['limit=', '/limit'],
      ['limit=1.5', '/limit'],
      ['limit=1e999', '/limit'],
      ['limit=NaN', '/limit'],
      ['limit=99999999999999999999', '/limit'],
      ['limit=1&limit=2', '/limit'],
      ['limit[]=1', '/limit[]'],
      ['cursor=', '/cursor'],
      ['cursor=x', '/cursor'],
      ['cursor=%00', '/cursor'],
      ['cursor=null', '/cursor'],
      [`cursor=${UUID}`, '/cursor'],
      [`cursor=${'x'.repeat(201)}`, '/cursor'],
      [`cursor=${Buffer.from("' OR 1=1 --").toString('base64url')}`, '/cursor'],
      [`cursor=${Buffer.from(`${UUID}\n`).toString('base64url')}`, '/cursor'],
      ['cursor=x&cursor=y', '/cursor'],
      ['offset=1', '/offset'],
      ['__proto__=1', '/__proto__'],
      ['Limit=1', '/Limit']
    ] as const) {
      const answer = await call('GET', `${path}?${query}`, { as })
      const [found = ''] = pointersOf(isProblem(t, answer, 400, 'invalid-request'))
      t.equal(found, pointer, `${path}?${query}`)
    }
  }
  const foreign = `/v1/api-keys?cursor=${cursorOfUsers}`
  isProblem(t, await call('GET', foreign, { as: apiKey }), 400, 'invalid-request')
  const padded = `/v1/users?cursor=${cursorOfUsers}%3D`
  isProblem(t, await call('GET', padded, { as: apiKey }), 400, 'invalid-request')
  const bad = await call('GET', '/v1/api-keys?accountId=1', { as: OPERATOR_KEY })
  t.same(pointersOf(isProblem(t, bad, 400, 'invalid-request')), ['/accountId'])
})

t.test('4xx: paths that name nobody', ON_SERVER, async (t) => {
  const ids = [
    '1',
    'ME',
    '%20',
    '%00',
    `${UUID}%00`,
    `${UUID}%0a`,
    `urn:uuid:${UUID}`,
    UUID.slice(1),
    '%F0%9F%98%80',
    '%D9%A1',
    '%2e%2e%2f%2e%2e',
    '%c0%ae',
    '%ff',
    '%',
    '%zz',
    '%E0%A4%A',
    'x'.repeat(5000),
    "'%20OR%201=1%20--",
    ';',
    '*'
  ]
  for (const id of ids) {
    for (const [method, path, as] of [
      ['GET', `/v1/users/${id}`, apiKey],
      ['PATCH', `/v1/users/${id}`, apiKey],
      ['DELETE', `/v1/users/${id}`, apiKey],
      ['GET', `/v1/users/${id}/recovery-codes`, self],
      ['GET', `/v1/users/${id}/authenticators`, self],
      ['DELETE', `/v1/users/me/authenticators/${id}`, self],
      ['DELETE', `/v1/users/me/devices/${id}`, self],
      ['GET', `/v1/accounts/${id}`, OPERATOR_KEY],
      ['DELETE', `/v1/api-keys/${id}`, apiKey]
    ] as const) {
      const body = method === 'PATCH' ? { body: { externalId: 'x' } } : {}
      const answer = await call(method, path, { as, ...body })
      // An admin's token asked about somebody else's codes is refused before the path is read.
      const isRefusal = path.endsWith('/recovery-codes') && answer.statusCode === 403
      if (!isRefusal) isRefused(t, answer, REFUSALS, `${method} ${path.slice(0, 80)}`)
    }
  }
})

t.test('401: headers that hold no credential', ON_SERVER, async (t) => {
  const wrong = [
    '',
    'Bearer',
    'Bearer ',
    `Basic ${apiKey}`,
    apiKey,
    `Bearer ${apiKey} ${apiKey}`,
    `Bearer ${apiKey},`,
    `Bearer\t${apiKey}`,
    `Bearer "${apiKey}"`,
    'Bearer tsk_',
    'Bearer tsk_é',
    'Bearer ...',
    'Bearer e30.e30.e30',
    'Bearer null',
    `Bearer ${'x'.repeat(8000)}`,
    `Bearer ${'a.'.repeat(4000)}`
  ]
  for (const authorization of wrong) {
    const answer = await call('GET', '/v1/users', { headers: { authorization } })
    isProblem(t, answer, 401, 'invalid-credential')
  }
})

t.test('200: what is odd and yet of the right form', ON_SERVER, async (t) => {
  const headers = { 'content-type': 'APPLICATION/JSON ; charset="UTF-8"' }
  const bom = `\ufeff${JSON.stringify({ externalId: 'crm-1' })}`
  const path = `/v1/users/${user.id}`
  const answer = await call('PATCH', path, { as: apiKey, body: bom, headers })
  t.equal(answer.statusCode, 200, 'RFC 8259 §8.1 lets a byte order mark be ignored')
  const names = [
    'Zoë 😀',
    "O'Brien; DROP TABLE",
    '{{7*7}}',
    '<b>',
    'ﷺ',
    '\u202Eevil',
    'a'.repeat(100)
  ]
  for (const name of names) {
    const change = { as: OPERATOR_KEY, body: { name } }
    const changed = await call('PATCH', `/v1/accounts/${account.id}`, change)
    t.same([changed.statusCode, changed.json().name], [200, name])
  }
})

t.test('all of this has spent no attempt, and nobody was locked', ON_SERVER, async (t) => {
  const { codeFailures, recoveryFailures, codeLockedUntil } =
    await database.prisma.user.findFirstOrThrow({
      where: { id: admin.id }
    })
  t.same(
    { codeFailures, recoveryFailures, codeLockedUntil },
    {
      codeFailures: 0,
      recoveryFailures: 0,
      codeLockedUntil: null
    }
  )
  t.equal(
    await database.prisma.stepToken.count({ where: { userId: admin.id, consumedAt: null } }),
    0
  )
  const wrong = admin.codeAt(new Date(clock.now().getTime() + 86_400_000))
  const first = isProblem(t, await verify(stepToken, wrong), 422, 'code-rejected')
  t.equal(first['attemptsRemaining'], 4, 'the first to count')
})

t.test('400: what is not even HTTP, and the service lives on', ON_SERVER, async (t) => {
  const { app, url, call } = await startApp(t, { listen: true, database })
  const port = Number(new URL(url).port)
  const head = 'POST /v1/login HTTP/1.1\r\nHost: x\r\n'
  const requests: [string, string | Buffer][] = [
    ['words', 'HELLO THERE\r\n\r\n'],
    ['a path with a space', 'GET /v1/users /x HTTP/1.1\r\nHost: x\r\n\r\n'],
    ['an HTTP of the future', 'GET / HTTP/9.9\r\nHost: x\r\n\r\n'],
    ['HTTP/2 without asking', 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'],
    ['a TLS hello', Buffer.from('16030100a5010000a10303', 'hex')],
    ['an unknown method', 'BREW /pot HTTP/1.1\r\nHost: x\r\n\r\n'],
    ['no host', 'GET / HTTP/1.1\r\n\r\n'],
    ['a header without a name', `${head}: x\r\n\r\n`],
    ['a header with NUL', `${head}X-A: a\u0000b\r\n\r\n`],
    ['a header folded', `${head}X-A: a\r\n b\r\n\r\n`],
    ['a length below zero', `${head}Content-Length: -1\r\n\r\n`],
    ['a length that is none', `${head}Content-Length: abc\r\n\r\n`],
    ['two lengths', `${head}Content-Length: 1\r\nContent-Length: 2\r\n\r\n{}`],
    [
      'a length and chunks',
      `${head}Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`
    ],
    ['an unknown encoding', `${head}Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n`],
    ['a chunk that is none', `${head}Transfer-Encoding: chunked\r\n\r\nZZ\r\n`],
    ['headers without end', `${head}X-A: ${'a'.repeat(70_000)}\r\n\r\n`],
    ['a path without end', `GET /${'a'.repeat(70_000)} HTTP/1.1\r\nHost: x\r\n\r\n`]
  ]
  for (const [name, request] of requests) {
    const answer = await sendRaw(port, request)
    t.ok(answer.statusCode >= 400 && answer.statusCode < 500, name, { answer })
    isProblem(t, answer, answer.statusCode, ['invalid-request', 'not-found'])
  }
  await Promise.all(Array.from({ length: 20 }, () => sendRaw(port, '')))
  t.equal((await call('GET', '/health/ready')).statusCode, 200)
  t.ok(app.server.listening)
})

/** Sends these bytes and reads what comes back until the other side hangs up; without bytes, just goes. */
async function sendRaw(port: number, request: string | Buffer): Promise<Answer> {
  const socket = connect(port, '127.0.0.1')
  socket.on('error', () => {})
  if (request === '') socket.on('connect', () => socket.resetAndDestroy())
  else socket.write(request)
  socket.setTimeout(3000, () => socket.destroy())
  const parts: Buffer[] = []
  socket.on('data', (part) => {
    parts.push(part)
    // A kept connection need not be waited for.
    if (/\r\n\r\n[\s\S]*}$/.test(Buffer.concat(parts).toString())) socket.end()
  })
  await new Promise((resolve) => socket.on('close', resolve))
  const [head = '', body = ''] = Buffer.concat(parts).toString().split('\r\n\r\n')
  const [statusLine = '', ...lines] = head.split('\r\n')
  const headers = Object.fromEntries(
    lines.map((line) => {
      const [name = '', ...value] = line.split(': ')
      return [name.toLowerCase(), value.join(': ')]
    })
  )
  return {
    statusCode: Number(statusLine.split(' ')[1]),
    headers,
    body,
    json: () => JSON.parse(body)
  }
}

async function nextCursorOf(path: string, as: string): Promise<string> {
  return (await call('GET', `${path}?limit=1`, { as })).json().nextCursor
}

function isRefused(
  t: Parameters<typeof isProblem>[0],
  answer: Answer,
  status: number | number[],
  what: string
): void {
  t.ok(answer.statusCode < 500, what)
  const document = isProblem(t, answer, status, REFUSAL_CODES)
  t.notMatch(
    document['detail'],
    /Fastify|FST_|Prisma|SyntaxError|node:|[/]src[/]/,
    'nothing internal'
  )
}
