import { decodeJwt } from 'jose'
import t from 'tap'
import { ISSUER, OPERATOR_KEY, startApp, UNKNOWN } from '../../support/app.ts'
import { isProblem, pointersOf, tellTales } from '../../support/problems.ts'

const { call, clock, createAccount, createUser, enrolledUser, login } = await startApp(t)
const as = OPERATOR_KEY

t.test('201: a new account has defaults and an API key with every scope', async (t) => {
  const answer = await call('POST', '/v1/accounts', {
    as,
    body: { slug: 'initech', name: 'Initech' }
  })
  t.equal(answer.statusCode, 201)
  t.equal(answer.headers['cache-control'], 'no-store')
  const { apiKey, ...account } = answer.json()
  const createdAt = clock.now().toISOString()
  t.same(account, {
    id: account.id,
    slug: 'initech',
    name: 'Initech',
    audience: `urn:twostep:account:${account.id}`,
    createdAt
  })
  t.match(account.id, /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-/, 'UUIDv7')
  t.same({ ...apiKey, key: '', id: '' }, { id: '', key: '', name: 'First key', createdAt, scopes })
  t.match(apiKey.key, new RegExp(`^tsk_${apiKey.id}_[A-Za-z0-9_-]{43}$`))
  t.equal((await call('GET', '/v1/users', { as: apiKey.key })).statusCode, 200)

  const read = await call('GET', `/v1/accounts/${account.id}`, { as })
  t.same(read.json(), account, 'the key is shown only once')
})

const scopes = [
  'users:read',
  'users:write',
  'users:reset',
  'login:assert',
  'login:assert-sso',
  'policy:read',
  'policy:write',
  'audit:read',
  'introspect',
  'keys:write',
  'sso:write'
]

t.test('409: only one of two concurrent requests gets a slug', async (t) => {
  const body = { slug: 'hooli', name: 'Hooli' }
  const answers = await Promise.all([1, 2].map(() => call('POST', '/v1/accounts', { as, body })))
  const [won, lost] = answers.sort((one, other) => one.statusCode - other.statusCode)
  t.equal(won?.statusCode, 201)
  if (lost) isProblem(t, lost, 409, 'slug-taken')
  isProblem(t, await call('POST', '/v1/accounts', { as, body }), 409, 'slug-taken')
})

t.test('400: a slug has 2 to 63 lower-case letters, digits and hyphens', async (t) => {
  for (const slug of ['A', 'Acme', 'a', 'a'.repeat(64), 'a_b', 'a b', 'ä-ö', 'a.b', '']) {
    const answer = await call('POST', '/v1/accounts', { as, body: { slug, name: 'X' } })
    t.same(pointersOf(isProblem(t, answer, 400, 'invalid-request')), ['/slug'], slug)
  }
  for (const slug of ['a1', '-'.repeat(63)]) {
    const answer = await call('POST', '/v1/accounts', { as, body: { slug, name: 'X' } })
    t.equal(answer.statusCode, 201, slug)
  }
})

t.test(
  '200: an account gets a new name and audience, and the next token the new audience',
  async (t) => {
    const account = await createAccount()
    const user = await createUser({ account })
    const path = `/v1/accounts/${account.id}`
    const renamed = await call('PATCH', path, { as, body: { name: 'Renamed' } })
    t.match(renamed.json(), { name: 'Renamed', slug: account.slug, audience: account.audience })
    const moved = await call('PATCH', path, { as, body: { audience: 'https://api.acme.example' } })
    t.same(moved.json(), { ...renamed.json(), audience: 'https://api.acme.example' })
    t.same((await call('GET', path, { as })).json(), moved.json())
    const { accessToken } = (await login(user)).json()
    t.same(decodeJwt(accessToken).aud, [ISSUER, 'https://api.acme.example'])
  }
)

t.test('400: the slug and the id cannot change', async (t) => {
  const { id } = await createAccount()
  for (const body of [{ slug: 'other' }, { id: UNKNOWN }, {}]) {
    const answer = await call('PATCH', `/v1/accounts/${id}`, { as, body })
    isProblem(t, answer, 400, 'invalid-request')
  }
})

t.test('404: an unknown account is not found', async (t) => {
  const path = `/v1/accounts/${UNKNOWN}`
  isProblem(t, await call('GET', path, { as }), 404, 'account-not-found')
  const change = await call('PATCH', path, { as, body: { name: 'X' } })
  isProblem(t, change, 404, 'account-not-found')
})

t.test('403: accounts accept only the operator key', async (t) => {
  const account = await createAccount()
  const admin = await enrolledUser({ account, role: 'admin' })
  for (const credential of [account.apiKey, await admin.accessToken()]) {
    for (const [method, path, body] of [
      ['GET', '/v1/accounts', undefined],
      ['GET', `/v1/accounts/${account.id}`, undefined],
      ['POST', '/v1/accounts', { slug: 'mine', name: 'Mine' }],
      ['PATCH', `/v1/accounts/${account.id}`, { name: 'Mine' }]
    ] as const) {
      const answer = await call(method, path, { as: credential, ...(body && { body }) })
      isProblem(t, answer, 403, 'insufficient-scope')
    }
  }
})

t.test('401: a missing and an almost correct operator key get the same response', async (t) => {
  const [kind, id, secret = ''] = OPERATOR_KEY.split('_')
  const otherSecret = `${secret.slice(0, -1)}${secret.endsWith('A') ? 'B' : 'A'}`
  const refused = await Promise.all(
    [
      OPERATOR_KEY.replace('uYq1', 'uYq2'),
      `${kind}_operator0002_${OPERATOR_KEY.slice(17)}`,
      `tsk_${id}_${OPERATOR_KEY.slice(17)}`,
      OPERATOR_KEY.slice(0, -1),
      `${OPERATOR_KEY}A`,
      OPERATOR_KEY.toUpperCase(),
      `tso_${otherSecret}`
    ].map((credential) => call('GET', '/v1/accounts', { as: credential }))
  )
  for (const answer of refused) {
    isProblem(t, answer, 401, 'invalid-credential')
    t.equal(answer.headers['www-authenticate'], 'Bearer error="invalid_token"')
  }
  const [first, ...others] = refused.map(tellTales)
  for (const other of others) t.same(other, first)
  const none = await call('GET', '/v1/accounts')
  isProblem(t, none, 401, 'invalid-credential')
  t.equal(
    none.headers['www-authenticate'],
    'Bearer',
    'no error code without a credential (RFC 6750 §3.1)'
  )
})

t.test('200: the list is oldest first, and complete while accounts are added', async (t) => {
  const known: string[] = []
  for (let cursor: string | null = ''; cursor !== null; ) {
    const query: string = cursor === '' ? '' : `&cursor=${encodeURIComponent(cursor)}`
    const answer = await call('GET', `/v1/accounts?limit=2${query}`, { as })
    t.ok(answer.json().items.length <= 2)
    known.push(...answer.json().items.map(({ id }: { id: string }) => id))
    cursor = answer.json().nextCursor
    if (known.length < 6) known.push('', (await createAccount()).id)
  }
  const listed = known.filter((id, index) => id !== '' && known[index - 1] !== '')
  const all = (await call('GET', '/v1/accounts?limit=200', { as })).json()
  t.equal(all.nextCursor, null)
  const ids = all.items.map(({ id }: { id: string }) => id)
  t.same(listed, ids)
  t.same([...ids].sort(), ids)
  t.notMatch(JSON.stringify(all), /tsk_|apiKey/)
})
