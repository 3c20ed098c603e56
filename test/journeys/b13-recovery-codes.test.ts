// B13: a user who has lost the phone signs in with one of ten recovery codes, each of which works once.
import { decodeJwt } from 'jose'
import t from 'tap'
import { startApp } from '../support/app.ts'
import { isProblem } from '../support/problems.ts'

const service = await startApp(t, { listen: true })
const { call, clock, createAccount, enrolledUser, recover, verify } = service

t.test('each of the ten recovery codes works once, in every spelling', async (t) => {
  const user = await enrolledUser()
  t.equal(new Set(user.recoveryCodes).size, 10)
  for (const [index, code] of user.recoveryCodes.entries()) {
    t.match(code, /^[0-9A-HJKMNP-TV-Z]{4}(-[0-9A-HJKMNP-TV-Z]{4}){5}$/, '120 bits, grouped')
    const spellings = [
      code.toLowerCase(),
      code.replaceAll('-', ''),
      ` ${code.replaceAll('-', ' ')} `,
      code.replaceAll('1', 'l').replaceAll('0', 'o'),
      `\t${code.replace('-', '-\r\n')}\n`,
      code.replaceAll('-', '\u00a0')
    ]
    const typed = spellings[index % 7] ?? code
    const answer = await recover(await user.stepToken(), typed)
    t.equal(answer.statusCode, 200, typed)
    t.match(answer.json(), {
      status: 'authenticated',
      reason: 'recovery_code_verified',
      recoveryCodesRemaining: 9 - index
    })
  }
  for (const code of user.recoveryCodes) {
    isProblem(t, await recover(await user.stepToken(), code), 422, 'code-rejected')
  }
})

t.test(
  'a recovery code counts as a second factor, and the authenticator stays active',
  async (t) => {
    const account = await createAccount()
    const admin = await enrolledUser({ account, role: 'admin' })
    const [code = ''] = admin.recoveryCodes
    const { accessToken } = (await recover(await admin.stepToken(), code)).json()
    t.match(decodeJwt(accessToken), { amr: ['pwd', 'mfa', 'rc'], acr: 'urn:twostep:acr:2' })
    const change = { body: {}, headers: { 'if-match': '*' } }
    t.equal((await call('PATCH', '/v1/policy', { as: accessToken, ...change })).statusCode, 200)
    t.equal((await verify(await admin.stepToken(), admin.nextCode())).statusCode, 200)
    const { twoFactor } = (await call('GET', '/v1/users/me', { as: accessToken })).json()
    t.match(twoFactor, { state: 'enabled', authenticators: 1, recoveryCodesRemaining: 9 })
  }
)

t.test(
  "422: another user's recovery code is rejected, and stays valid for its owner",
  async (t) => {
    const [owner, stranger] = [await enrolledUser(), await enrolledUser()]
    const [code = ''] = owner.recoveryCodes
    isProblem(t, await recover(await stranger.stepToken(), code), 422, 'code-rejected')
    t.equal((await recover(await owner.stepToken(), code)).statusCode, 200)
  }
)

t.test(
  'a lock of codes leaves recovery codes usable, and a recovery code ends the lock',
  async (t) => {
    const user = await enrolledUser()
    const wrongCode = () => user.codeAt(new Date(clock.now().getTime() + 86_400_000))
    for (const stepToken of [await user.stepToken(), await user.stepToken()]) {
      for (let guess = 0; guess < 5; guess += 1) await verify(stepToken, wrongCode())
    }
    const stepToken = await user.stepToken()
    const locked = await verify(stepToken, user.codeAt(clock.now()))
    t.match(isProblem(t, locked, 429, 'too-many-attempts'), { scope: 'user', recoveryOpen: true })
    t.equal((await recover(stepToken, user.recoveryCodes[0] ?? '')).statusCode, 200)
    const code = user.codeAt(clock.now())
    t.equal(
      (await verify(await user.stepToken(), code)).statusCode,
      200,
      'the lock has not used it up'
    )
  }
)

t.test('429: wrong recovery codes have a separate budget, and codes stay usable', async (t) => {
  const user = await enrolledUser()
  const wrong = 'AAAA-BBBB-CCCC-DDDD-EEEE-FFFF'
  for (const stepToken of [await user.stepToken(), await user.stepToken()]) {
    for (const attemptsRemaining of [4, 3, 2, 1, 0]) {
      const answer = await recover(stepToken, wrong)
      t.match(isProblem(t, answer, 422, 'code-rejected'), { attemptsRemaining })
    }
  }
  const stepToken = await user.stepToken()
  const [code = ''] = user.recoveryCodes
  const closed = await recover(stepToken, code)
  t.match(isProblem(t, closed, 429, 'too-many-attempts'), { scope: 'user', recoveryOpen: false })
  t.equal((await verify(stepToken, user.nextCode())).statusCode, 200)

  clock.advance({ minutes: 15 })
  t.equal(
    (await recover(await user.stepToken(), code)).statusCode,
    200,
    'the lock has not used it up'
  )
})
