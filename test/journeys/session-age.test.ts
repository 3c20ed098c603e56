// S33: no step-up extends a session beyond the age of its first factor, or beyond the password or provider that the account
// accepts.
import t, { type Test } from 'tap'
import { claimsOf } from '../abuse/sso/sso-app.ts'
import { type EnrolledUser, startApp, type TestAccount } from '../support/app.ts'
import type { Answer } from '../support/calls.ts'
import { CLIENT_ID, openIdentityProvider } from '../support/identity-provider.ts'
import { isProblem } from '../support/problems.ts'

const MAX_SECONDS = 43_200
const service = await startApp(t, { listen: true })
const { call, changePolicy, clock, createAccount, enrolledUser, verify, recover } = service
const { confirm, enroll, login } = service
const provider = await openIdentityProvider(t)
const SSO = { mode: 'optional', issuer: provider.url, clientId: CLIENT_ID } as const

const seconds = () => Math.floor(clock.now().getTime() / 1000)
const tokenOf = (answer: Answer): string => answer.json().accessToken

/** Returns a user whose account has used the provider for a day, so that it links users without a code. */
async function ssoUser(account?: TestAccount): Promise<EnrolledUser> {
  const home = account ?? (await createAccount())
  if (!account) await changePolicy(home, { sso: SSO })
  clock.advance({ minutes: 24 * 60 })
  return enrolledUser({ account: home })
}

async function bySso({ account, email, id }: EnrolledUser, claims = {}): Promise<Answer> {
  const given = { sub: id, email, email_verified: true, ...claims }
  const idToken = await provider.idToken(clock.now(), given)
  return call('POST', '/v1/login/sso', { body: { account: account.slug, idToken } })
}

function isOver(t: Test, answer: Answer): void {
  t.equal(isProblem(t, answer, 401, 'step-up-required')['next'], 'login')
  t.match(answer.headers['www-authenticate'], 'insufficient_user_authentication')
}

t.test('every step-up keeps the time of the password, until the session is too old', async (t) => {
  const user = await enrolledUser()
  const start = seconds()
  const { stepToken } = (await login(user)).json()
  clock.advance({ seconds: 60 })
  let answer = await verify(stepToken, user.nextCode())
  t.match(claimsOf(answer), { pwd_time: start, auth_time: seconds() })
  t.notOk('sso_time' in claimsOf(answer))
  while (start + MAX_SECONDS - seconds() > 840) {
    clock.advance({ seconds: 840 })
    answer = await verify(tokenOf(answer), user.nextCode())
    t.match(claimsOf(answer), { pwd_time: start, auth_time: seconds() })
  }
  const token = tokenOf(answer)
  clock.advance({ seconds: start + MAX_SECONDS - seconds() })
  t.equal((await recover(token, user.recoveryCodes[0] ?? '')).statusCode, 200, 'the last second')
  clock.advance({ seconds: 1 })
  isOver(t, await verify(token, user.nextCode()))
  isOver(t, await recover(token, user.recoveryCodes[1] ?? ''))
  isOver(t, await call('POST', '/v1/verify', { as: token, body: { code: 'no code' } }))
  t.equal((await call('GET', '/v1/users/me', { as: token })).statusCode, 200, 'for its own minutes')
})

t.test('a set-up does not make a session younger', async (t) => {
  const user = await enrolledUser()
  const start = seconds()
  let token = await user.accessToken()
  while (start + MAX_SECONDS - seconds() > 540) {
    clock.advance({ seconds: 540 })
    token = tokenOf(await verify(token, user.nextCode()))
  }
  const body = { name: 'Second', replaces: user.authenticatorId }
  const { authenticatorId, setupKey } = (await enroll(token, body)).json()
  const code = service.codeAt(setupKey, clock.now())
  t.equal(claimsOf(await confirm(token, authenticatorId, code))['pwd_time'], start)

  const other = await enrolledUser()
  const first = seconds()
  let late = await other.accessToken()
  while (first + MAX_SECONDS - seconds() >= 540) {
    clock.advance({ seconds: 540 })
    late = tokenOf(await verify(late, other.nextCode()))
  }
  const pending = (await enroll(late, { name: 'Second' })).json()
  clock.advance({ seconds: first + MAX_SECONDS - seconds() + 1 })
  isOver(t, await enroll(late, { name: 'Third' }))
  const right = service.codeAt(pending.setupKey, clock.now())
  isOver(t, await confirm(late, pending.authenticatorId, right))
})

t.test('a session by single sign-on ends with the provider', async (t) => {
  const other = 'https://other.example'
  for (const [title, sso] of [
    ['single sign-on is off', { mode: 'off' }],
    ['the issuer is replaced', { issuer: other }]
  ] as const) {
    const user = await ssoUser()
    const answer = await bySso(user, { auth_time: seconds() - 30 })
    t.match(claimsOf(answer), { sso_time: seconds() - 30, sso_iss: provider.url })
    const stepUp = await verify(tokenOf(answer), user.nextCode())
    t.match(claimsOf(stepUp), {
      sso_time: claimsOf(answer)['sso_time'],
      sso_iss: provider.url,
      amr: ['sso', 'otp', 'mfa']
    })
    const { authenticatorId, setupKey } = (await enroll(tokenOf(stepUp), { name: 'Second' })).json()
    await changePolicy(user.account, { sso })
    isOver(t, await verify(tokenOf(stepUp), user.nextCode()))
    isOver(t, await recover(tokenOf(stepUp), user.recoveryCodes[0] ?? ''))
    isOver(t, await enroll(tokenOf(stepUp)))
    const code = service.codeAt(setupKey, clock.now())
    isOver(t, await confirm(tokenOf(stepUp), authenticatorId, code))
    t.equal((await login(user)).statusCode, 200, `${title}: the password still signs in`)
  }
})

t.test('a session by password ends when single sign-on becomes required', async (t) => {
  const user = await ssoUser()
  const token = await user.accessToken()
  const bySsoToken = tokenOf(await bySso(user))
  await changePolicy(user.account, { sso: { mode: 'required' } })
  isOver(t, await verify(token, user.nextCode()))
  isProblem(t, await enroll(token), 403, 'sso-managed')
  clock.advance({ seconds: 601 })
  isOver(t, await call('DELETE', '/v1/users/me/two-factor', { as: token }))
  t.equal((await verify(bySsoToken, user.nextCode())).statusCode, 200)
})

t.test('the age of a single sign-on counts from the sign-in at the provider', async (t) => {
  const user = await ssoUser()
  const old = await bySso(user, { auth_time: seconds() - MAX_SECONDS - 1 })
  isOver(t, await verify(tokenOf(old), user.nextCode()))
  clock.advance({ seconds: 1 })
  const unknown = await bySso(user)
  t.match(claimsOf(unknown), { auth_time: 0, sso_time: seconds() })
  t.equal((await verify(tokenOf(unknown), user.nextCode())).statusCode, 200)
})

t.test('an assertion names the first factor that the back end has checked', async (t) => {
  const user = await ssoUser()
  const assert = (firstFactor: 'pwd' | 'sso') =>
    call('POST', '/v1/login/assertion', {
      as: user.account.apiKey,
      body: { userId: user.id, firstFactor }
    })
  const sso = await assert('sso')
  t.match(claimsOf(sso), { sso_time: seconds(), sso_iss: provider.url })
  const start = seconds()
  const { stepToken } = (await assert('pwd')).json()
  t.equal(claimsOf(await verify(stepToken, user.nextCode()))['pwd_time'], start)
  await changePolicy(user.account, { sso: { issuer: 'https://other.example' } })
  isOver(t, await verify(tokenOf(sso), user.nextCode()))
})

t.test('introspection returns the claims of the first factor', async (t) => {
  const user = await ssoUser()
  const token = tokenOf(await bySso(user))
  const body = { token }
  const answer = await call('POST', '/v1/introspect', { as: user.account.apiKey, body })
  t.match(answer.json(), { active: true, sso_time: seconds(), sso_iss: provider.url })
})
