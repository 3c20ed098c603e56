// B6: users who already use two-factor notice no change when the account starts to require it.
import t from 'tap'
import { startApp } from '../support/app.ts'

const service = await startApp(t, { listen: true })
const { call, clock, changePolicy, createAccount, enrolledUser, login, verify } = service

t.test('an enrolled user keeps the same steps, authenticator and recovery codes', async (t) => {
  const account = await createAccount()
  const user = await enrolledUser({ account })
  const other = await enrolledUser({ account })
  const signIn = async () => {
    const { stepToken, ...first } = (await login(user)).json()
    const { accessToken, ...second } = (await verify(stepToken, user.nextCode())).json()
    return { accessToken, first, second }
  }

  const before = await signIn()
  const underWay = await other.stepToken()
  await changePolicy(account, { twoFactor: 'required' })

  const me = await call('GET', '/v1/users/me', { as: before.accessToken })
  t.equal(me.statusCode, 200, 'access tokens stay valid')
  t.match(me.json().twoFactor, {
    state: 'enabled',
    authenticators: 1,
    recoveryCodesRemaining: 10,
    required: true
  })
  const finished = await verify(underWay, other.nextCode())
  t.equal(finished.statusCode, 200, 'a running sign-in continues')

  clock.advance({ minutes: 1 })
  const after = await signIn()
  t.same(after.second, before.second)
  t.same(after.first, { ...before.first, reason: 'account_required' }, 'only the reason differs')

  await changePolicy(account, { twoFactor: 'optional' })
  clock.advance({ minutes: 1 })
  t.same(
    (await signIn()).first,
    before.first,
    'and the code is still required when two-factor is optional again'
  )
})
