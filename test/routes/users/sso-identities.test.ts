// S33: what single sign-on has linked is listed, changed and removed.
import t from 'tap'
import { ON_SERVER, startApp, type TestAccount, UNKNOWN } from '../../support/app.ts'
import { CLIENT_ID, openIdentityProvider } from '../../support/identity-provider.ts'
import { isProblem } from '../../support/problems.ts'
import { actsOn, MAIL_WAITS, mailsTo } from '../../support/records.ts'

const service = await startApp(t, { env: MAIL_WAITS })
const { call, changePolicy, clock, createAccount, createUser, enrolledUser, login } = service
const provider = await openIdentityProvider(t)
const SSO = { mode: 'optional', issuer: provider.url, clientId: CLIENT_ID } as const
const account = await createAccount()
await changePolicy(account, { sso: SSO })
clock.advance({ minutes: 24 * 60 })

async function bySso(sub: string, email?: string) {
  clock.advance({ seconds: 1 })
  const claims = { sub, ...(email && { email, email_verified: true }) }
  const idToken = await provider.idToken(clock.now(), { ...claims, auth_time: seconds() })
  return call('POST', '/v1/login/sso', { body: { account: account.slug, idToken } })
}

const seconds = () => Math.floor(clock.now().getTime() / 1000)
const pathOf = (userId: string) => `/v1/users/${userId}/sso-identities`
const list = (userId: string, as = account.apiKey) => call('GET', pathOf(userId), { as })
const link = (userId: string, body: object, as = account.apiKey) =>
  call('PUT', pathOf(userId), { as, body })
const unlink = (userId: string, id: string, as = account.apiKey) =>
  call('DELETE', `${pathOf(userId)}/${id}`, { as })

async function keyFor(of: TestAccount, ...scopes: string[]): Promise<string> {
  const body = { name: 'key', scopes }
  return (await call('POST', '/v1/api-keys', { as: of.apiKey, body })).json().key
}

t.test('200: users, admins and keys list identities', ON_SERVER, async (t) => {
  const user = await createUser({ account, email: 'list@example.com' })
  t.same((await list(user.id)).json(), { items: [] })
  const signedIn = await bySso('list', 'List@Example.com')
  const linkedAt = clock.now().toISOString()
  clock.advance({ minutes: 1 })
  await bySso('list')
  const answer = await list(user.id)
  const [{ id, ...identity }] = answer.json().items
  t.same(identity, {
    issuer: provider.url,
    subject: 'list',
    email: 'list@example.com',
    linkedAt,
    lastUsedAt: clock.now().toISOString()
  })
  t.ok(id)
  const admin = await enrolledUser({ account, role: 'admin' })
  t.equal((await list(user.id, await admin.accessToken())).body, answer.body)
  t.equal((await list('me', signedIn.json().accessToken)).body, answer.body)
  isProblem(t, await list(UNKNOWN), 404, 'user-not-found')
  isProblem(t, await list(user.id, (await createAccount()).apiKey), 404, 'user-not-found')
})

t.test('204: an identity is removed, which revokes tokens and is mailed', ON_SERVER, async (t) => {
  const user = await createUser({ account, email: 'remove@example.com' })
  const admin = await enrolledUser({ account, role: 'admin' })
  let sub = 0
  for (const actor of ['self', 'admin', 'key']) {
    sub += 1
    const own = (await bySso(`remove-${sub}`, user.email)).json().accessToken
    const [{ id }] = (await list(user.id)).json().items
    const as = { self: own, admin: await admin.accessToken(), key: account.apiKey }[actor]
    t.equal((await unlink(user.id, id, as)).statusCode, 204, actor)
    isProblem(t, await call('GET', '/v1/users/me', { as: own }), 401, 'invalid-credential')
    t.same((await list(user.id)).json(), { items: [] })
    isProblem(t, await unlink(user.id, id), 404, 'sso-identity-not-found')
  }
  const mails = await mailsTo(service, user.email, 'sso_unlinked')
  t.same(
    mails.map(({ details }) => details),
    Array(3).fill({ provider: provider.url.slice('http://'.length) })
  )
  const acts = await actsOn(service, user.id, 'sso_identity.unlink')
  t.equal(acts.filter((act) => act.endsWith('succeeded')).length, 3)
})

t.test('401 · 404: a stale sign-in and another account remove nothing', ON_SERVER, async (t) => {
  const user = await createUser({ account, email: 'stale@example.com' })
  const own = (await bySso('stale', user.email)).json().accessToken
  const [{ id }] = (await list(user.id)).json().items
  const stranger = await createAccount()
  isProblem(t, await unlink(user.id, id, stranger.apiKey), 404, 'user-not-found')
  const other = await createUser({ account })
  isProblem(t, await unlink(other.id, id), 404, 'sso-identity-not-found')
  clock.advance({ minutes: 11 })
  isProblem(t, await unlink(user.id, id, own), 401, 'step-up-required')
  t.equal((await list(user.id)).json().items.length, 1)
})

t.test('200: a back end links a user whose provider sends no address', ON_SERVER, async (t) => {
  const user = await createUser({ account, email: 'silent@example.com' })
  isProblem(t, await bySso('0000-0001'), 401, 'invalid-sso-token')
  const answer = await link(user.id, { subject: '0000-0001', issuer: provider.url })
  t.match(answer.json(), { subject: '0000-0001', email: null, lastUsedAt: null })
  t.same((await link(user.id, { subject: '0000-0001' })).json(), answer.json(), 'again')
  t.equal((await bySso('0000-0001')).json().user.id, user.id)
  const token = (await bySso('0000-0001')).json().accessToken
  t.equal((await link(user.id, { subject: '0000-0002' })).statusCode, 200)
  isProblem(t, await call('GET', '/v1/users/me', { as: token }), 401, 'invalid-credential')
  isProblem(t, await bySso('0000-0001'), 401, 'invalid-sso-token')
  t.equal((await bySso('0000-0002')).json().user.id, user.id)
  t.equal((await mailsTo(service, user.email, 'sso_linked_by_others')).length, 2)
  const other = await createUser({ account })
  isProblem(t, await link(other.id, { subject: '0000-0002' }), 409, 'sso-identity-taken')
})

t.test(
  '403 · 404 · 400: a link needs both scopes and the provider of the policy',
  ON_SERVER,
  async (t) => {
    const user = await createUser({ account })
    const body = { subject: 'x' }
    for (const scope of ['users:write', 'sso:write']) {
      const as = await keyFor(account, scope)
      isProblem(t, await link(user.id, body, as), 403, 'insufficient-scope')
    }
    t.equal(
      (await link(user.id, body, await keyFor(account, 'users:write', 'sso:write'))).statusCode,
      200
    )
    isProblem(t, await link(UNKNOWN, body), 404, 'user-not-found')
    const admin = await createUser({ account, role: 'admin' })
    const asMember = await keyFor(account, 'users:write', 'sso:write')
    isProblem(t, await link(admin.id, { subject: 'y' }, asMember), 403, 'insufficient-scope')
    const asAdmin = await keyFor(account, 'users:write', 'sso:write', 'admins:write')
    t.equal((await link(admin.id, { subject: 'y' }, asAdmin)).statusCode, 200)
    const elsewhere = { ...body, issuer: 'https://login.other.example' }
    isProblem(t, await link(user.id, elsewhere), 400, 'invalid-request')
    isProblem(t, await link(user.id, { subject: 'a\u0000' }), 400, 'invalid-request')
    const without = await createAccount()
    const stranger = await createUser({ account: without })
    isProblem(t, await link(stranger.id, body, without.apiKey), 403, 'sso-not-enabled')
  }
)

t.test('200: a reset removes all identities', ON_SERVER, async (t) => {
  const user = await createUser({ account, email: 'reset@example.com' })
  t.equal((await bySso('reset', user.email)).statusCode, 200)
  const answer = await call('POST', `/v1/users/${user.id}/reset`, { as: account.apiKey, body: {} })
  t.equal(answer.statusCode, 200)
  t.same((await list(user.id)).json(), { items: [] })
  isProblem(t, await bySso('reset'), 401, 'invalid-sso-token')
  t.equal((await bySso('another-person', user.email)).json().user.id, user.id, 'by the address')
})

t.test('a change of single sign-on is mailed to all admins', ON_SERVER, async (t) => {
  const of = await createAccount()
  const [one, two] = [
    await createUser({ account: of, role: 'admin', email: 'one@example.org' }),
    await createUser({ account: of, role: 'admin', email: 'two@example.org' })
  ]
  const member = await createUser({ account: of, email: 'member@example.org' })
  const mails = async ({ email }: { email: string }) => mailsTo(service, email, 'sso_changed')
  await changePolicy(of, { sso: SSO })
  const named = { provider: provider.url.slice('http://'.length), client: CLIENT_ID }
  const actor = of.apiKey.split('_')[1]
  const sso = { mode: 'optional', ...named, addresses: 'verified', by: 'api_key', actor }
  for (const admin of [one, two]) {
    t.same(await mails(admin), [{ kind: 'sso_changed', address: null, details: sso }])
  }
  await changePolicy(of, { sso: SSO, graceDays: 3 })
  t.equal((await mails(one)).length, 1, 'nothing has changed')
  for (const patch of [{ trustEmail: true }, { clientId: 'x' }, { mode: 'off' }]) {
    await changePolicy(of, { sso: patch })
  }
  t.equal((await mails(two)).length, 4)
  t.same(await mails(member), [])
  t.equal((await login(one)).statusCode, 200)
})

t.test(
  'a trusted provider’s address links the user, and the policy shows the trust',
  ON_SERVER,
  async (t) => {
    const of = await createAccount()
    const user = await createUser({ account: of, email: 'trusted@example.com' })
    await changePolicy(of, { sso: SSO })
    const attempt = async (more: object) => {
      clock.advance({ seconds: 1 })
      const idToken = await provider.idToken(clock.now(), { sub: 't', email: user.email, ...more })
      return call('POST', '/v1/login/sso', { body: { account: of.slug, idToken } })
    }
    isProblem(t, await attempt({}), 401, 'invalid-sso-token')
    await changePolicy(of, { sso: { trustEmail: true } })
    t.match((await call('GET', '/v1/policy', { as: of.apiKey })).json().sso, { trustEmail: true })
    isProblem(t, await attempt({ email_verified: false }), 401, 'invalid-sso-token')
    t.equal((await attempt({})).json().user?.id, user.id)
  }
)
