// S11: a change of password and a disabling kill every token of before, those too that are made at that very moment.
import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import type { Answer, EnrolledUser, TestApp } from '../support/app.ts'
import { tally, verdictOf } from '../support/guesses.ts'
import { atOnce, type Replicas, race } from '../support/replicas.ts'

/** What a sign-in that came too late may be told, or one whose code another has used. */
const LATE = ['401 invalid-credential', '422 code-rejected']
const NEW_PASSWORD = 'another horse, another battery'

race(t, async (t, replicas, rounds) => {
  await t.test('S11: 401 for what signed in while the user was being disabled', (t) =>
    disabledMeanwhile(t, replicas, rounds(20))
  )
  await t.test('S11: 401 for what signed in while the password was being changed', (t) =>
    passwordChangedMeanwhile(t, replicas, rounds(10))
  )
})

async function disabledMeanwhile(t: Test, { first, of }: Replicas, rounds: number) {
  const user = await first.enrolledUser()
  let recoveryCodes = user.recoveryCodes
  for (let round = 0; round < rounds; round += 1) {
    if (recoveryCodes.length < 3) recoveryCodes = await newRecoveryCodes(first, user)
    const signIns = await prepareSignIns(of, user, recoveryCodes.splice(0, 3))
    const [disabled, ...answers] = await Promise.all([
      sleep(round % 7).then(() => change(of(round), user, { disabled: true })),
      ...signIns.map((signIn, index) => sleep(index * 3).then(signIn))
    ])
    t.equal(disabled.statusCode, 200)
    await isAllDead(t, first, user, answers)
    t.equal((await change(first, user, { disabled: false })).statusCode, 200)
    await isAllDead(t, first, user, answers)
    first.clock.advance({ minutes: 15 })
  }
}

async function passwordChangedMeanwhile(t: Test, { first, of }: Replicas, rounds: number) {
  const user = await first.enrolledUser()
  let recoveryCodes = user.recoveryCodes
  let password = user.password
  for (let round = 0; round < rounds; round += 1) {
    if (recoveryCodes.length < 3) recoveryCodes = await newRecoveryCodes(first, user)
    const next = round % 2 === 0 ? NEW_PASSWORD : user.password
    // The new password's hash takes its time, and the sign-ins are spread over it.
    const signIns = await prepareSignIns(of, user, recoveryCodes.splice(0, 3))
    const [changed, withOldPassword, ...answers] = await Promise.all([
      change(of(round), user, { password: next }),
      of(round + 1).login({ ...user, password }),
      ...signIns.map((signIn, index) => sleep(index * (10 + round * 3)).then(signIn))
    ])
    t.equal(changed.statusCode, 200)
    await isAllDead(t, first, user, answers)
    if (withOldPassword.statusCode === 200) {
      const verified = await first.verify(withOldPassword.json().stepToken, user.nextCode())
      t.equal(verdictOf(verified), '401 invalid-credential')
    }
    password = next
    first.clock.advance({ minutes: 15 })
  }
}

/** The second steps of sign-ins that have begun: a code, and some recovery codes. */
async function prepareSignIns(
  of: Replicas['of'],
  user: EnrolledUser,
  recoveryCodes: string[]
): Promise<(() => Promise<Answer>)[]> {
  const stepTokens = await atOnce(recoveryCodes.length + 1, (index) =>
    of(index).assertedToken(user)
  )
  const code = user.codeAt(of(0).clock.now())
  return stepTokens.map((token, index) => async () => {
    const recoveryCode = recoveryCodes[index]
    return recoveryCode ? of(index).recover(token, recoveryCode) : of(index).verify(token, code)
  })
}

async function isAllDead(t: Test, { call }: TestApp, user: EnrolledUser, answers: Answer[]) {
  const { '200': _signedIn, ...others } = tally(answers)
  t.same(
    Object.keys(others).filter((verdict) => !LATE.includes(verdict)),
    []
  )
  for (const answer of answers.filter(({ statusCode }) => statusCode === 200)) {
    const { accessToken } = answer.json()
    const me = await call('GET', '/v1/users/me', { as: accessToken })
    t.equal(verdictOf(me), '401 invalid-credential')
    const asked = { as: user.account.apiKey, body: { token: accessToken } }
    t.same((await call('POST', '/v1/introspect', asked)).json(), { active: false })
  }
}

async function newRecoveryCodes(
  { assertedToken, call, verify }: TestApp,
  user: EnrolledUser
): Promise<string[]> {
  const signIn = await verify(await assertedToken(user), user.nextCode())
  const as = signIn.json().accessToken
  return (await call('POST', '/v1/users/me/recovery-codes', { as })).json().recoveryCodes
}

function change({ call }: TestApp, { id, account }: EnrolledUser, body: object): Promise<Answer> {
  return call('PATCH', `/v1/users/${id}`, { as: account.apiKey, body })
}
