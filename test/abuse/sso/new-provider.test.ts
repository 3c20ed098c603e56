// S18, S32: a provider that was set less than a day ago links a user who has an authenticator only with a code.
import t from 'tap'
import { type EnrolledUser, ON_SERVER, startApp } from '../../support/app.ts'
import { wrongCode } from '../../support/guesses.ts'
import { CLIENT_ID, openIdentityProvider } from '../../support/identity-provider.ts'
import { isProblem } from '../../support/problems.ts'
import { eventsAbout, MAIL_WAITS, mailsTo } from '../../support/records.ts'

const service = await startApp(t, { env: MAIL_WAITS })
const { call, changePolicy, clock, createAccount, createUser, database, enrolledUser } = service
const { verify } = service
const provider = await openIdentityProvider(t)
const SSO = { mode: 'optional', issuer: provider.url, clientId: CLIENT_ID } as const

async function ssoAccount() {
  const account = await createAccount()
  await changePolicy(account, { sso: SSO })
  return account
}

/** Signs in by single sign-on. The subject is that of the user unless another one is given. */
async function bySso(
  { account, email, id }: Pick<EnrolledUser, 'account' | 'email' | 'id'>,
  more = {}
) {
  clock.advance({ seconds: 1 })
  const claims = { sub: id, email, email_verified: true, ...more }
  const idToken = await provider.idToken(clock.now(), claims)
  return call('POST', '/v1/login/sso', { body: { account: account.slug, idToken } })
}

const linksOf = ({ id }: { id: string }) =>
  database.prisma.ssoIdentity.findMany({ where: { userId: id } })

t.test('200: a code links the user, and is needed once', ON_SERVER, async (t) => {
  const user = await enrolledUser({ account: await ssoAccount() })
  const first = (await bySso(user, { amr: ['hwk'] })).json()
  t.match(first, {
    status: 'verification_required',
    reason: 'sso_link',
    methods: ['totp', 'recovery_code']
  })
  t.same(await linksOf(user), [])
  const answer = (await verify(first.stepToken, user.nextCode())).json()
  t.match(answer, { status: 'authenticated', reason: 'code_verified' })
  const [, payload = ''] = answer.accessToken.split('.')
  t.same(JSON.parse(Buffer.from(payload, 'base64url').toString()).amr, ['hwk', 'sso', 'otp', 'mfa'])
  t.match(await linksOf(user), [{ subject: user.id, email: user.email, lastUsedAt: clock.now() }])
  t.match((await bySso(user)).json(), { status: 'authenticated', reason: 'sso_supersedes' })
  t.match(await mailsTo(service, user.email, 'sso_linked'), [{ kind: 'sso_linked' }])
  const events = await eventsAbout(service, user.id)
  t.match(events.slice(-3), [
    { type: 'sign_in.sso', details: { next: 'verification_required', why: 'sso_link' } },
    { type: 'sign_in.code', details: { linkedIssuer: provider.url } },
    { type: 'sign_in.sso', details: { next: 'authenticated' } }
  ])
})

t.test('200: a recovery code links the user too, with both mails', ON_SERVER, async (t) => {
  const user = await enrolledUser({ account: await ssoAccount() })
  const { stepToken } = (await bySso(user)).json()
  const [recoveryCode] = user.recoveryCodes
  const body = { recoveryCode }
  const answer = await call('POST', '/v1/verify', { as: stepToken, body })
  t.match(answer.json(), { status: 'authenticated', reason: 'recovery_code_verified' })
  t.equal((await linksOf(user)).length, 1)
  const mails = await mailsTo(service, user.email, 'sso_linked', 'recovery_code_used')
  t.same(mails.map(({ kind }) => kind).sort(), ['recovery_code_used', 'sso_linked'])
})

t.test('422: a wrong code makes no link', ON_SERVER, async (t) => {
  const user = await enrolledUser({ account: await ssoAccount() })
  const { stepToken } = (await bySso(user)).json()
  isProblem(t, await verify(stepToken, wrongCode(user, clock.now())), 422, 'code-rejected')
  t.same(await linksOf(user), [])
})

t.test(
  'after a day, and for a user without an authenticator, no code is needed',
  ON_SERVER,
  async (t) => {
    const account = await ssoAccount()
    const plain = await createUser({ account })
    t.equal((await bySso(plain)).json().status, 'authenticated')
    const user = await enrolledUser({ account })
    clock.advance({ minutes: 24 * 60 - 1 })
    t.equal((await bySso(user)).json().reason, 'sso_link')
    clock.advance({ minutes: 1 })
    t.equal((await bySso(user)).json().status, 'authenticated')
  }
)

t.test('401: a replaced provider revokes the step token', ON_SERVER, async (t) => {
  const account = await ssoAccount()
  const user = await enrolledUser({ account })
  const { stepToken } = (await bySso(user)).json()
  await changePolicy(account, { sso: { clientId: 'next' } })
  isProblem(t, await verify(stepToken, user.nextCode()), 401, 'invalid-credential')
  t.same(await linksOf(user), [])
  await changePolicy(account, { sso: { clientId: CLIENT_ID } })
  t.equal((await verify(stepToken, user.nextCode())).statusCode, 200)
})

t.test('a link made meanwhile is never taken over', ON_SERVER, async (t) => {
  const account = await ssoAccount()
  const user = await enrolledUser({ account })
  const { stepToken } = (await bySso(user, { sub: 'shared' })).json()
  const other = await createUser({ account })
  t.equal((await bySso(other, { sub: 'shared' })).json().user.id, other.id)
  t.equal((await verify(stepToken, user.nextCode())).json().user.id, user.id)
  t.same(await linksOf(user), [])
  t.equal((await bySso(user, { sub: 'shared' })).json().user.id, other.id)
})

t.test(
  'a link of the back end needs a code at its first use, however old it is',
  ON_SERVER,
  async (t) => {
    const account = await ssoAccount()
    clock.advance({ minutes: 24 * 60 })
    const [early, late] = [await enrolledUser({ account }), await enrolledUser({ account })]
    for (const { id } of [early, late]) {
      const body = { subject: id }
      const path = `/v1/users/${id}/sso-identities`
      t.equal((await call('PUT', path, { as: account.apiKey, body })).statusCode, 200)
    }
    const first = (await bySso(early, { email: undefined })).json()
    t.equal(first.reason, 'sso_link')
    t.equal((await verify(first.stepToken, early.nextCode())).statusCode, 200)
    t.match(await linksOf(early), [{ lastUsedAt: clock.now() }])
    t.equal((await bySso(early)).json().status, 'authenticated')
    clock.advance({ minutes: 24 * 60 })
    t.equal((await bySso(late, { email: undefined })).json().reason, 'sso_link')
  }
)
