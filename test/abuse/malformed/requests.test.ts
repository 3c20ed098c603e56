// S19: malformed queries, paths, headers and bytes get a 4xx problem. They never cause a 5xx and spend no attempt.
import { connect } from 'node:net'
import t from 'tap'
import { ON_SERVER, OPERATOR_KEY, startApp } from '../../support/app.ts'
import type { Answer } from '../../support/calls.ts'
import { isProblem, pointersOf } from '../../support/problems.ts'
import { isRefused, JSON_TYPE, startWithTargets, UUID } from './targets.ts'

const { account, apiKey, call, database, isNothingSpent, self, user } = await startWithTargets(t)

const REFUSALS = [400, 404, 413, 415]

t.test('400: a query that names no page of the list is rejected', ON_SERVER, async (t) => {
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

t.test('4xx: a path with a malformed id is rejected', ON_SERVER, async (t) => {
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
      // An admin's token is refused for the codes of another user before the path is validated.
      const isRefusal = path.endsWith('/recovery-codes') && answer.statusCode === 403
      if (!isRefusal) isRefused(t, answer, REFUSALS, `${method} ${path.slice(0, 80)}`)
    }
  }
})

t.test('401: a malformed Authorization header is rejected', ON_SERVER, async (t) => {
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

t.test('200: unusual but valid input is accepted', ON_SERVER, async (t) => {
  const headers = { 'content-type': 'APPLICATION/JSON ; charset="UTF-8"' }
  const bom = `\ufeff${JSON.stringify({ externalId: 'crm-1' })}`
  const path = `/v1/users/${user.id}`
  const answer = await call('PATCH', path, { as: apiKey, body: bom, headers })
  t.equal(answer.statusCode, 200, 'a byte order mark is ignored (RFC 8259 §8.1)')
  const names = ['Zoë 😀', "O'Brien; DROP TABLE", '{{7*7}}', '<b>', 'ﷺ', 'a'.repeat(100)]
  for (const name of names) {
    const change = { as: OPERATOR_KEY, body: { name } }
    const changed = await call('PATCH', `/v1/accounts/${account.id}`, change)
    t.same([changed.statusCode, changed.json().name], [200, name])
  }
})

t.test('no request has spent an attempt or locked a user', ON_SERVER, (t) => isNothingSpent(t))

t.test('400: invalid HTTP is rejected, and the service stays ready', ON_SERVER, async (t) => {
  const { app, url, call } = await startApp(t, { listen: true, database })
  const port = Number(new URL(url).port)
  const head = 'POST /v1/login HTTP/1.1\r\nHost: x\r\n'
  const requests: [string, string | Buffer][] = [
    ['words', 'HELLO THERE\r\n\r\n'],
    ['a path with a space', 'GET /v1/users /x HTTP/1.1\r\nHost: x\r\n\r\n'],
    ['an unknown version of HTTP', 'GET / HTTP/9.9\r\nHost: x\r\n\r\n'],
    ['HTTP/2 without an upgrade', 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'],
    ['a TLS hello', Buffer.from('16030100a5010000a10303', 'hex')],
    ['an unknown method', 'BREW /pot HTTP/1.1\r\nHost: x\r\n\r\n'],
    ['no host', 'GET / HTTP/1.1\r\n\r\n'],
    ['a header without a name', `${head}: x\r\n\r\n`],
    ['a header with NUL', `${head}X-A: a\u0000b\r\n\r\n`],
    ['a folded header', `${head}X-A: a\r\n b\r\n\r\n`],
    ['a negative length', `${head}Content-Length: -1\r\n\r\n`],
    ['a length that is no number', `${head}Content-Length: abc\r\n\r\n`],
    ['two lengths', `${head}Content-Length: 1\r\nContent-Length: 2\r\n\r\n{}`],
    [
      'a length and chunks',
      `${head}Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`
    ],
    ['an unknown encoding', `${head}Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n`],
    ['an invalid chunk', `${head}Transfer-Encoding: chunked\r\n\r\nZZ\r\n`],
    ['headers that are too large', `${head}X-A: ${'a'.repeat(70_000)}\r\n\r\n`],
    ['a path that is too long', `GET /${'a'.repeat(70_000)} HTTP/1.1\r\nHost: x\r\n\r\n`]
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

/** For a response that never comes. */
const SILENT_MS = 10 * 60_000

/** Sends the bytes and reads the response until the service closes the connection. Without bytes, resets the connection. */
async function sendRaw(port: number, request: string | Buffer): Promise<Answer> {
  const socket = connect(port, '127.0.0.1')
  socket.on('error', () => {})
  if (request === '') socket.on('connect', () => socket.resetAndDestroy())
  else socket.write(request)
  socket.setTimeout(SILENT_MS, () => socket.destroy())
  const parts: Buffer[] = []
  socket.on('data', (part) => {
    parts.push(part)
    // A connection that is kept open must not delay the test.
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

// The contract check of `call` fails for a response that openapi.yaml does not name.
t.test('413, 415: routes that need no body refuse one by a documented response', async (t) => {
  const { call, enrolledUser } = await startApp(t, { listen: true })
  const user = await enrolledUser()
  const self = await user.accessToken()
  for (const [method, path, as] of [
    ['POST', '/v1/users/me/recovery-codes', self],
    ['DELETE', `/v1/users/me/authenticators/${UUID}`, self],
    ['DELETE', `/v1/users/${UUID}`, user.account.apiKey]
  ] as const) {
    const sent = async (type: string) => {
      const headers = { 'content-type': type }
      return call(method, path, { as, body: 'x'.repeat(20_000), headers })
    }
    isProblem(t, await sent(JSON_TYPE), 413, 'body-too-large')
    isProblem(t, await sent('text/plain'), 415, 'unsupported-media-type')
  }
})
