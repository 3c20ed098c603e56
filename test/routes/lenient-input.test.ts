// Input that clients write in several ways, and that is accepted in all of them.
import t from 'tap'
import { ON_EMBEDDED, OPERATOR_KEY, startApp } from '../support/app.ts'
import { verdictOf } from '../support/guesses.ts'
import { isProblem } from '../support/problems.ts'

const { app, call, createUser, enrolledUser, homeAccount, login, assertedToken } = await startApp(t)
const account = await homeAccount()
const JSON_TYPE = { 'content-type': 'application/json' }

t.test('a request without a body may name a media type', ON_EMBEDDED, async (t) => {
  const user = await enrolledUser()
  const as = await user.accessToken()
  for (const headers of [
    JSON_TYPE,
    { 'content-type': 'text/plain' },
    { ...JSON_TYPE, 'content-length': '0' }
  ]) {
    const codes = await call('POST', '/v1/users/me/recovery-codes', { as, headers })
    t.equal(verdictOf(codes), '200', JSON.stringify(headers))
  }
  const off = await call('DELETE', '/v1/users/me/two-factor', { as, headers: JSON_TYPE })
  t.equal(verdictOf(off), '204')
  const token = await assertedToken(await createUser())
  t.equal(verdictOf(await call('POST', '/v1/enroll', { as: token, headers: JSON_TYPE })), '201')
  const chunked = { ...JSON_TYPE, 'transfer-encoding': 'chunked', authorization: `Bearer ${token}` }
  const answer = await app.inject({
    method: 'POST',
    url: '/v1/enroll',
    headers: chunked,
    payload: ''
  })
  t.equal(answer.statusCode, 201)
  const required = await call('POST', '/v1/login', { headers: JSON_TYPE })
  isProblem(t, required, 400, 'invalid-request')
})

t.test('ids are accepted in upper case, in paths, queries and bodies', ON_EMBEDDED, async (t) => {
  const user = await enrolledUser()
  const as = await user.accessToken()
  const upper = user.id.toUpperCase()
  const self = await call('GET', `/v1/users/${upper}`, { as })
  t.match(self.json(), { id: user.id }, 'oneself')
  const events = `/v1/audit-events?userId=${upper}`
  t.not((await call('GET', events, { as: account.apiKey })).json().items.length, 0)
  const body = { userId: upper, firstFactor: 'pwd' }
  const asserted = await call('POST', '/v1/login/assertion', { as: account.apiKey, body })
  t.equal(verdictOf(asserted), '200')
  const removed = `/v1/users/me/authenticators/${user.authenticatorId.toUpperCase()}`
  t.equal(verdictOf(await call('DELETE', removed, { as })), '204')
  const accountPath = `/v1/accounts/${account.id.toUpperCase()}`
  t.equal(verdictOf(await call('GET', accountPath, { as: OPERATOR_KEY })), '200')
  const denied = await createUser()
  const token = await assertedToken(denied)
  await call('GET', `/v1/users/${upper}`, { as: token })
  const refused = (await call('GET', events, { as: account.apiKey })).json().items
  t.ok(
    refused.some(({ reason }: { reason: string }) => reason === 'limited-access'),
    'in the audit trail'
  )
})

t.test(
  'an e-mail address may have spaces around it, and a domain of any script',
  ON_EMBEDDED,
  async (t) => {
    const user = await createUser({ email: ' Eve@B\u00fccher.example ' })
    const stored = (await call('GET', `/v1/users/${user.id}`, { as: account.apiKey })).json()
    t.equal(stored.email, 'eve@xn--bcher-kva.example')
    for (const email of ['eve@b\u00fccher.example', 'EVE@xn--bcher-kva.example\t']) {
      t.equal(verdictOf(await login({ ...user, email })), '200', email)
    }
  }
)

t.test('an e-mail address may be in any script, and is one in all spellings', async (t) => {
  const user = await createUser({ email: 'JO\u0308RG.用户@例え.jp' })
  const path = `/v1/users/${user.id}`
  const as = account.apiKey
  const stored = (await call('GET', path, { as })).json()
  t.equal(stored.email, 'j\u00f6rg.用户@xn--r8jz45g.jp')
  for (const email of ['j\u00f6rg.用户@例え.jp', 'Jo\u0308rg.用户@xn--r8jz45g.jp ']) {
    t.equal(verdictOf(await login({ ...user, email })), '200', email)
    const body = { email, firstFactor: 'pwd' }
    t.equal(verdictOf(await call('POST', '/v1/login/assertion', { as, body })), '200', email)
    const again = await call('POST', '/v1/users', { as, body: { email } })
    isProblem(t, again, 409, 'email-taken')
  }
  for (const q of ['JO\u0308RG', 'j\u00f6rg', '用户']) {
    const found = await call('GET', `/v1/users?q=${encodeURIComponent(q)}`, { as })
    t.same(
      found.json().items.map(({ id }: { id: string }) => id),
      [user.id],
      q
    )
  }
  const body = { email: 'Ju\u0308rgen@example.com' }
  t.equal((await call('PATCH', path, { as, body })).json().email, 'j\u00fcrgen@example.com')
  const support = { email: 'Hilfe.Bu\u0308ro@B\u00fccher.example' }
  const ofAccount = `/v1/accounts/${account.id}`
  const changed = await call('PATCH', ofAccount, { as: OPERATOR_KEY, body: { support } })
  t.equal(changed.json().support.email, 'Hilfe.B\u00fcro@xn--bcher-kva.example')
})

t.test('400: an e-mail address that can look like another one', async (t) => {
  // The Kelvin sign is a K in NFC and in lower case, so this address would be that of another user.
  const user = await createUser({ email: 'kelvin@example.com' })
  for (const email of [
    '\u212aelvin@example.com',
    'ad\u200ba@example.com',
    'a\u202ed@example.com'
  ]) {
    const body = { email }
    isProblem(
      t,
      await call('POST', '/v1/users', { as: account.apiKey, body }),
      400,
      'invalid-request'
    )
    isProblem(t, await login({ ...user, email }), 400, 'invalid-request')
  }
})

t.test('400: a name that shows nothing, or shows it in another order', ON_EMBEDDED, async (t) => {
  const name = [
    '   ',
    ' : ',
    '\u00a0',
    '\u3164',
    'Acme \u202egnp',
    '\u2066Acme',
    'A\u200bcme',
    'A\u2028cme'
  ]
  for (const [index, bad] of name.entries()) {
    const body = { slug: `bad-${index}`, name: bad }
    const answer = await call('POST', '/v1/accounts', { as: OPERATOR_KEY, body })
    isProblem(t, answer, 400, 'invalid-request')
  }
  for (const [index, good] of ['Acme: EU', '例え', 'نام\u200cها', '7'].entries()) {
    const body = { slug: `good-${index}`, name: good }
    t.equal(verdictOf(await call('POST', '/v1/accounts', { as: OPERATOR_KEY, body })), '201', good)
  }
})

t.test('200: a tag that a compressing proxy has made weak matches', ON_EMBEDDED, async (t) => {
  const as = account.apiKey
  const { headers } = await call('GET', '/v1/policy', { as })
  const ifMatch = { 'if-match': `W/${headers['etag']}` }
  const answer = await call('PATCH', '/v1/policy', { as, headers: ifMatch, body: { graceDays: 3 } })
  t.equal(verdictOf(answer), '200')
})
