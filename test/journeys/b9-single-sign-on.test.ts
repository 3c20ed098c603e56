// B9: single sign-on supersedes two-factor: a user who signs in at the account's identity provider needs no code. It is no
// bypass: only a verified sign-in counts, and an account that requires single sign-on accepts no password.
import t from 'tap'
import { startApp } from '../support/app.ts'
import { createClock } from '../support/clock.ts'
import { openOidcProvider } from '../support/oidc-provider.ts'
import { isProblem } from '../support/problems.ts'

const service = await startApp(t, { listen: true, clock: createClock(new Date()) })
const { changePolicy, client, clock, createAccount, enrolledUser, login, verify } = service
const provider = await openOidcProvider(t)

t.test('users sign in through the identity provider, and in no other way', async (t) => {
  const account = await createAccount()
  const grace = await enrolledUser({ account, email: 'grace@example.com' })
  const sso = { issuer: provider.issuer, clientId: provider.clientId }
  await changePolicy(account, { twoFactor: 'required', sso: { ...sso, mode: 'optional' } })
  const left = (await login(grace)).json()
  t.match(left, { status: 'verification_required', reason: 'account_required' })

  const { idToken, nonce } = await provider.signIn('Grace@Example.com')
  clock.set(new Date())
  const body = { account: account.slug, idToken, nonce }
  const first = await client.POST('/v1/login/sso', { body })
  t.match(first.data, { status: 'verification_required', reason: 'sso_link' })
  const { stepToken = '' } = first.data?.status === 'verification_required' ? first.data : {}
  t.match((await verify(stepToken, grace.nextCode())).json(), {
    status: 'authenticated',
    reason: 'code_verified',
    user: { id: grace.id, email: 'grace@example.com' }
  })
  t.equal((await client.POST('/v1/login/sso', { body })).error?.code, 'invalid-sso-token')

  const asBackEnd = { headers: { authorization: `Bearer ${account.apiKey}` } }
  const exempt = await client.GET('/v1/users', {
    ...asBackEnd,
    params: { query: { twoFactor: 'exempt' } }
  })
  t.match(exempt.data?.items, [
    { id: grace.id, twoFactor: { exempt: true, reason: 'sso_supersedes' } }
  ])

  await changePolicy(account, { sso: { mode: 'required' } })
  isProblem(t, await login(grace), 403, 'sso-required')
  isProblem(t, await verify(left.stepToken, grace.nextCode()), 403, 'sso-required')
  const again = await provider.signIn('grace@example.com')
  clock.set(new Date())
  const second = await client.POST('/v1/login/sso', { body: { account: account.slug, ...again } })
  const signedIn = second.data?.status === 'authenticated' ? second.data : null
  const asGrace = { headers: { authorization: `Bearer ${signedIn?.accessToken}` } }
  const codes = await client.POST('/v1/users/{userId}/recovery-codes', {
    ...asGrace,
    params: { path: { userId: 'me' } }
  })
  t.equal(codes.data?.recoveryCodesRemaining, 10, 'a recent sign-in at the provider is fresh')
})
