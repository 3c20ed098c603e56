import { decodeJwt } from 'jose'
import t from 'tap'
import { OPERATOR_KEY, startApp } from '../../support/app.ts'
import { WRONG_RECOVERY_CODE, wrongCode } from '../../support/guesses.ts'
import { isProblem } from '../../support/problems.ts'

const service = await startApp(t)
const {
  assertedToken,
  call,
  changePolicy,
  clock,
  createAccount,
  createUser,
  enrolledUser,
  recover,
  verify
} = service

const REGENERATE = ['POST', '/v1/users/me/recovery-codes'] as const

t.test('POST /v1/verify with an access token: the step-up', async (t) => {
  t.test('200: the new access token is fresh, and the stale one stays valid', async (t) => {
    const user = await enrolledUser()
    const stale = await user.accessToken()
    clock.advance({ seconds: 601 })
    const refused = await call(...REGENERATE, { as: stale })
    t.equal(isProblem(t, refused, 401, 'step-up-required')['next'], 'verify')

    const answer = await verify(stale, user.nextCode())
    t.match(answer.json(), {
      status: 'authenticated',
      reason: 'code_verified',
      recoveryCodesRemaining: 10
    })
    const { accessToken } = answer.json()
    const authTime = clock.now().getTime() / 1000
    t.match(decodeJwt(accessToken), {
      amr: ['pwd', 'otp', 'mfa'],
      acr: 'urn:twostep:acr:2',
      auth_time: authTime
    })
    t.equal((await call(...REGENERATE, { as: accessToken })).statusCode, 200)
    t.equal((await call('GET', '/v1/users/me', { as: stale })).statusCode, 200)
  })

  t.test('429: a step-up has no budget of a step token, only the one of the user', async (t) => {
    const user = await enrolledUser()
    const as = await user.accessToken()
    for (let remaining = 9; remaining >= 0; remaining -= 1) {
      const answer = await verify(as, wrongCode(user, clock.now()))
      const { attemptsRemaining } = isProblem(t, answer, 422, 'code-rejected')
      t.equal(attemptsRemaining, remaining)
    }
    const locked = await verify(as, user.nextCode())
    t.match(isProblem(t, locked, 429, 'too-many-attempts'), { scope: 'user', recoveryOpen: true })
    isProblem(t, await verify(await user.stepToken(), user.nextCode()), 429, 'too-many-attempts')
    t.equal((await recover(as, user.recoveryCodes[0] ?? '')).statusCode, 200)
  })

  t.test('422: without an authenticator every code is wrong', async (t) => {
    const as = await assertedToken(await createUser())
    isProblem(t, await verify(as, '123456'), 422, 'code-rejected')
    isProblem(t, await recover(as, WRONG_RECOVERY_CODE), 422, 'code-rejected')
  })
})

t.test('POST /v1/verify', async (t) => {
  t.test(
    '403: fifty wrong codes in a row disable codes until a recovery code is used',
    async (t) => {
      const user = await enrolledUser()
      for (let lock = 0; lock < 5; lock += 1) {
        clock.advance({ minutes: 15 })
        const wrong = wrongCode(user, clock.now())
        for (const stepToken of [await user.stepToken(), await user.stepToken()]) {
          for (let guess = 0; guess < 5; guess += 1) await verify(stepToken, wrong)
        }
      }
      clock.advance({ minutes: 15 })
      const stepToken = await user.stepToken()
      isProblem(t, await verify(stepToken, user.nextCode()), 403, 'authenticator-disabled')
      t.equal((await recover(stepToken, user.recoveryCodes[0] ?? '')).statusCode, 200)
      t.equal((await verify(await user.stepToken(), user.nextCode())).statusCode, 200)
    }
  )

  t.test('422: a code of another user is rejected', async (t) => {
    const [one, two] = [await enrolledUser(), await enrolledUser()]
    const code = one.nextCode()
    isProblem(t, await verify(await two.stepToken(), code), 422, 'code-rejected')
    t.equal((await verify(await one.stepToken(), code)).statusCode, 200)
  })

  t.test(
    'a code completes or extends no password sign-in after single sign-on became required',
    async (t) => {
      const user = await enrolledUser({ account: await createAccount() })
      const [stepToken, accessToken] = [await user.stepToken(), await user.accessToken()]
      const sso = { mode: 'required', issuer: 'https://login.acme.example', clientId: 'twostep' }
      await changePolicy(user.account, { sso })
      isProblem(t, await verify(stepToken, user.nextCode()), 403, 'sso-required')
      const stepUp = await verify(accessToken, user.nextCode())
      t.equal(isProblem(t, stepUp, 401, 'step-up-required')['next'], 'login')
    }
  )

  t.test('403: keys are refused', async (t) => {
    const { apiKey } = await createAccount()
    for (const as of [apiKey, OPERATOR_KEY]) {
      isProblem(t, await verify(as, '123456'), 403, 'insufficient-scope')
    }
  })
})

t.test('GET and POST /v1/users/{userId}/recovery-codes', async (t) => {
  t.test('200: ten new recovery codes replace the old ones', async (t) => {
    const user = await enrolledUser()
    await recover(await user.stepToken(), user.recoveryCodes[0] ?? '')
    const as = await user.accessToken()
    const count = async () =>
      (await call('GET', `/v1/users/${user.id}/recovery-codes`, { as })).json()
    t.same(await count(), { recoveryCodesRemaining: 9 })
    const answer = await call(...REGENERATE, { as })
    t.equal(answer.headers['cache-control'], 'no-store')
    const { recoveryCodes, recoveryCodesRemaining } = answer.json()
    t.equal(recoveryCodesRemaining, 10)
    t.equal(new Set([...recoveryCodes, ...user.recoveryCodes]).size, 20)
    t.same(await count(), { recoveryCodesRemaining: 10 }, 'the access token stays valid')
    const old = await recover(await user.stepToken(), user.recoveryCodes[1] ?? '')
    isProblem(t, old, 422, 'code-rejected')
    t.equal((await recover(await user.stepToken(), recoveryCodes[9])).statusCode, 200)
  })

  t.test('401: new recovery codes need a fresh second factor', async (t) => {
    const as = await assertedToken(await createUser())
    const answer = await call(...REGENERATE, { as })
    t.equal(isProblem(t, answer, 401, 'step-up-required')['next'], 'enroll')
  })

  t.test('403: only users themselves count or replace their recovery codes', async (t) => {
    const account = await createAccount()
    const [admin, user] = [
      await enrolledUser({ account, role: 'admin' }),
      await enrolledUser({ account })
    ]
    const as = await admin.accessToken()
    const path = `/v1/users/${user.id}/recovery-codes`
    for (const method of ['GET', 'POST']) {
      isProblem(t, await call(method, path, { as }), 403, 'limited-access')
      isProblem(t, await call(method, path, { as: account.apiKey }), 403, 'insufficient-scope')
    }
    t.equal((await recover(await user.stepToken(), user.recoveryCodes[0] ?? '')).statusCode, 200)
  })
})
