// What an account says about itself: the issuer that phones show, and the contact that helps users.
import t from 'tap'
import { OPERATOR_KEY, startApp, type TestAccount } from '../../support/app.ts'
import { isProblem, pointersOf } from '../../support/problems.ts'

const DEFAULTS = { SUPPORT_URL: 'https://help.host.example', SUPPORT_EMAIL: 'help@host.example' }
const OF_HOST = { url: DEFAULTS.SUPPORT_URL, email: DEFAULTS.SUPPORT_EMAIL }
const OWN = { url: 'https://acme.example/help?from=app', email: 'it@acme.example' }
const env = { ...DEFAULTS, MANDATE_FROM: '2031-01-01T00:00:00Z', MANDATE_REASON: 'New law' }

const service = await startApp(t, { env })
const { assertedToken, call, changePolicy, clock, createAccount, createUser, enroll } = service
const { enrolledUser, login, verify } = service
const as = OPERATOR_KEY

let made = 0
function create(body: object) {
  made += 1
  const account = { slug: `named-${made}`, name: 'Acme', ...body }
  return call('POST', '/v1/accounts', { as, body: account })
}
const change = ({ id }: { id: string }, body: object) =>
  call('PATCH', `/v1/accounts/${id}`, { as, body })

async function issuerOf(account: TestAccount) {
  const { issuer, otpauthUri, type } = (
    await enroll(await assertedToken(await createUser({ account })))
  ).json()
  t.equal(type, 'totp')
  t.match(otpauthUri, `issuer=${encodeURIComponent(issuer)}`)
  return issuer
}

const UNFIT = [
  '',
  ' ',
  '\u00a0\u3000',
  '\u3164',
  '\u2800\u115f',
  '\u200c\u200d',
  ':',
  '\u202eemcA',
  'Ac\u2066me\u2069',
  'Acme\u200f',
  'Ac\u200bme',
  'Ac\ufeffme',
  'Ac\u00adme',
  'Acme\n',
  'Ac\u0085me',
  'Ac\u2028me',
  'Ac\u0000me',
  'Ac\u007fme',
  'Ac\ue000me',
  'Ac\u{e0041}me'
]

t.test('400: a name that would deceive or confuse on a phone is refused', async (t) => {
  const account = await createAccount()
  for (const text of UNFIT) {
    for (const field of ['name', 'issuerName']) {
      for (const answer of [
        await create({ [field]: text }),
        await change(account, { [field]: text })
      ]) {
        const pointers = pointersOf(isProblem(t, answer, 400, 'invalid-request'))
        t.same([...new Set(pointers)], [`/${field}`], encodeURIComponent(text))
      }
    }
  }
  t.match((await call('GET', `/v1/accounts/${account.id}`, { as })).json(), { name: account.name })
})

t.test('a colon is allowed in the name of an account, and not in an issuer name', async (t) => {
  const answer = await create({ name: 'Acme: Berlin' })
  t.equal(answer.statusCode, 201)
  const account = { ...answer.json(), apiKey: answer.json().apiKey.key }
  t.equal(await issuerOf(account), 'Acme Berlin')
  const refused = await change(account, { issuerName: 'Acme: Berlin' })
  t.same(
    new Set(pointersOf(isProblem(t, refused, 400, 'invalid-request'))),
    new Set(['/issuerName'])
  )
})

t.test('201: names in all scripts reach the phone unchanged', async (t) => {
  for (const issuerName of [
    'Ü & Söhne',
    '株式会社',
    'شرکت می\u200cخواهم',
    '👩\u200d💻 Club',
    '!'
  ]) {
    const answer = await create({ name: issuerName })
    t.match(answer.json(), { name: issuerName, issuerName })
    const account = { ...answer.json(), apiKey: answer.json().apiKey.key }
    t.equal(await issuerOf(account), issuerName)
  }
})

t.test('200: the issuer is the issuer name, or the name if there is none', async (t) => {
  const account = await createAccount({ name: 'Acme Incorporated' })
  t.equal(await issuerOf(account), 'Acme Incorporated')
  t.match((await change(account, { issuerName: 'Acme' })).json(), { issuerName: 'Acme' })
  t.equal(await issuerOf(account), 'Acme')
  t.match((await change(account, { name: 'Umbrella' })).json(), { issuerName: 'Acme' })
  t.match((await change(account, { issuerName: null })).json(), { issuerName: 'Umbrella' })
  t.equal(await issuerOf(account), 'Umbrella')
  const long = await create({ name: 'n'.repeat(100) })
  t.equal(long.json().issuerName, 'n'.repeat(64))
  for (const issuerName of ['x'.repeat(65), 7]) {
    isProblem(t, await change(account, { issuerName }), 400, 'invalid-request')
  }
  t.equal((await change(account, { issuerName: '😀'.repeat(64) })).statusCode, 200)
})

t.test('200: an account of an earlier release with an unfit name gets a fit issuer', async (t) => {
  const account = await createAccount()
  const data = { name: ' \u202eemcA:\u202c Berlin ' }
  await service.database.prisma.account.update({ where: { id: account.id }, data })
  t.equal(await issuerOf(account), 'emcA Berlin')
})

t.test('200: the support contact is set, changed and removed', async (t) => {
  const created = await create({ support: OWN })
  t.same(created.json().support, OWN)
  t.same((await change(created.json(), { support: { url: null } })).json().support, {
    url: null,
    email: OWN.email
  })
  t.same((await change(created.json(), { support: { url: OWN.url } })).json().support, OWN)
  t.equal((await change(created.json(), { support: null })).json().support, null)
  t.equal((await create({ support: { url: null, email: null } })).json().support, null)
  for (const [support, pointer] of [
    [{ url: 'javascript:alert(1)' }, '/support/url'],
    [{ url: 'https://' }, '/support/url'],
    [{ url: 'https://[' }, '/support/url'],
    [{ url: 'https://acme.example/a b' }, '/support/url'],
    [{ email: 'it' }, '/support/email'],
    [{ phone: '1' }, '/support/phone']
  ] as const) {
    const answer = await create({ support })
    t.ok(pointersOf(isProblem(t, answer, 400, 'invalid-request')).includes(pointer), pointer)
  }
})

t.test('200: the policy shows the contact of the account, or that of the deployment', async (t) => {
  const account = await createAccount()
  const shown = async () => (await call('GET', '/v1/policy', { as: account.apiKey })).json().support
  t.same(await shown(), OF_HOST)
  await change(account, { support: { email: OWN.email } })
  t.same(await shown(), { url: null, email: OWN.email }, 'never mixed with that of the deployment')
})

t.test('problems that a user cannot solve alone name the contact', async (t) => {
  const account = await createAccount()
  await change(account, { support: OWN })
  const user = await enrolledUser({ account })
  const refused = await call('GET', '/v1/users', { as: await user.accessToken() })
  t.match(isProblem(t, refused, 403, 'limited-access'), { support: OWN })

  const wrong = (token: string) => verify(token, '000000')
  const [first, second] = [await user.stepToken(), await user.stepToken()]
  for (const token of [first, second]) for (let tries = 0; tries < 5; tries += 1) await wrong(token)
  const locked = isProblem(t, await wrong(await user.stepToken()), 429, 'too-many-attempts')
  t.match(locked, { scope: 'user', support: OWN })
  clock.advance({ minutes: 16 })
  const token = await user.stepToken()
  for (let tries = 0; tries < 5; tries += 1) await wrong(token)
  const spent = isProblem(t, await wrong(token), 429, 'too-many-attempts')
  t.match(spent, { scope: 'step_token' })
  t.notOk('support' in spent, 'a user can solve this alone')

  const data = { codeDisabledAt: clock.now(), codeLockedUntil: null }
  await service.database.prisma.user.updateMany({ where: { id: user.id }, data })
  const disabled = await wrong(await user.stepToken())
  t.match(isProblem(t, disabled, 403, 'authenticator-disabled'), { support: OWN })

  await changePolicy(account, {
    sso: { mode: 'required', issuer: 'https://login.acme.example', clientId: 'twostep' }
  })
  t.match(isProblem(t, await login(user), 403, 'sso-required'), { support: OWN })
  const body = { userId: user.id, firstFactor: 'pwd' }
  const asserted = await call('POST', '/v1/login/assertion', { as: account.apiKey, body })
  t.match(isProblem(t, asserted, 403, 'sso-required'), { support: OWN })
})

t.test('a locked policy names the reason of the deployment and the contact', async (t) => {
  const account = await createAccount()
  clock.set(new Date('2031-01-01T00:00:00Z'))
  const { headers, body } = await call('GET', '/v1/policy', { as: account.apiKey })
  t.match(JSON.parse(body).mandate, { reason: 'New law', source: 'deployment' })
  const patch = await call('PATCH', '/v1/policy', {
    as: account.apiKey,
    body: { twoFactor: 'optional' },
    headers: { 'if-match': String(headers['etag']) }
  })
  const problem = isProblem(t, patch, 403, 'policy-locked')
  t.match(problem, { mandate: { reason: 'New law' }, support: OF_HOST })
})
