// S11: a change of password, a disabling and a reset revoke all earlier tokens, including tokens issued at that moment.
import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import type { EnrolledUser, TestApp, TestUser } from '../support/app.ts'
import type { Answer } from '../support/calls.ts'
import { tally, verdictOf } from '../support/guesses.ts'
import { atOnce, type Replicas, race } from '../support/replicas.ts'
import { NO_ROWS, rowsOf } from '../support/two-factor-rows.ts'

/** The responses to a sign-in that is too late, or whose code another request has used. */
const LATE = ['401 invalid-credential', '422 code-rejected']
const NEW_PASSWORD = 'another horse, another battery'

race(t, async (t, replicas, rounds) => {
  await t.test('S11: 401: a token from a sign-in during a disabling is revoked', (t) =>
    disabledMeanwhile(t, replicas, rounds(20))
  )
  await t.test('S11: 401: a token from a sign-in during a change of password is revoked', (t) =>
    passwordChangedMeanwhile(t, replicas, rounds(10))
  )
  await t.test('S11: 401: a token from a sign-in during a reset is revoked', (t) =>
    resetMeanwhile(t, replicas, rounds(100))
  )
  await t.test('S16: 200: a set-up that is confirmed during a reset leaves nothing', (t) =>
    resetDuringSetUp(t, replicas, rounds(40))
  )
})

async function disabledMeanwhile(t: Test, { first, of }: Replicas, rounds: number) {
  const user = await first.enrolledUser()
  let recoveryCodes = user.recoveryCodes
  for (let round = 0; round < rounds; round += 1) {
    if (recoveryCodes.length < 3) {
      recoveryCodes = await first.newRecoveryCodes(await user.accessToken())
    }
    const signIns = await prepareSignIns(of, user, recoveryCodes.splice(0, 3))
    const [disabled, ...answers] = await Promise.all([
      sleep(round % 7).then(() => change(of(round), user, { disabled: true })),
      ...signIns.map((signIn, index) => sleep(index * 3).then(signIn))
    ])
    t.equal(disabled.statusCode, 200)
    await assertAllRevoked(t, first, user, answers)
    t.equal((await change(first, user, { disabled: false })).statusCode, 200)
    await assertAllRevoked(t, first, user, answers)
    first.clock.advance({ minutes: 15 })
  }
}

async function passwordChangedMeanwhile(t: Test, { first, of }: Replicas, rounds: number) {
  const user = await first.enrolledUser()
  let recoveryCodes = user.recoveryCodes
  let password = user.password
  for (let round = 0; round < rounds; round += 1) {
    if (recoveryCodes.length < 3) {
      recoveryCodes = await first.newRecoveryCodes(await user.accessToken())
    }
    const next = round % 2 === 0 ? NEW_PASSWORD : user.password
    // Hashing the new password takes time, and the sign-ins are spread over it.
    const signIns = await prepareSignIns(of, user, recoveryCodes.splice(0, 3))
    const [changed, withOldPassword, ...answers] = await Promise.all([
      change(of(round), user, { password: next }),
      of(round + 1).login({ ...user, password }),
      ...signIns.map((signIn, index) => sleep(index * (10 + round * 3)).then(signIn))
    ])
    t.equal(changed.statusCode, 200)
    await assertAllRevoked(t, first, user, answers)
    if (withOldPassword.statusCode === 200) {
      const verified = await first.verify(withOldPassword.json().stepToken, user.nextCode())
      t.equal(verdictOf(verified), '401 invalid-credential')
    }
    password = next
    first.clock.advance({ minutes: 15 })
  }
}

async function resetMeanwhile(t: Test, { first, of }: Replicas, rounds: number) {
  const user = await first.createUser()
  for (let round = 0; round < rounds; round += 1) {
    const enrolled = await first.enrolled(user)
    const signIns = await prepareSignIns(of, enrolled, enrolled.recoveryCodes.slice(0, 2))
    const [reset, ...answers] = await Promise.all([
      sleep(round % 5).then(() => resetOf(of(round), user)),
      ...signIns.map((signIn, index) => sleep(index * 2).then(signIn))
    ])
    t.equal(reset.statusCode, 200)
    await assertAllRevoked(t, first, user, answers)
    t.same(await rowsOf(first, user), NO_ROWS)
    first.clock.advance({ minutes: 15 })
  }
}

async function resetDuringSetUp(t: Test, { first, of }: Replicas, rounds: number) {
  const user = await first.createUser()
  for (let round = 0; round < rounds; round += 1) {
    const token = await first.assertedToken(user)
    const { authenticatorId, setupKey } = (await first.enroll(token)).json()
    const code = first.codeAt(setupKey, first.clock.now())
    const [reset, confirmed] = await Promise.all([
      sleep(round % 4).then(() => resetOf(of(round), user)),
      of(round + 1).confirm(token, authenticatorId, code)
    ])
    t.equal(reset.statusCode, 200)
    const late = [...LATE, '200', '404 enrollment-not-found']
    t.ok(late.includes(verdictOf(confirmed)), verdictOf(confirmed))
    t.same(await rowsOf(first, user), NO_ROWS)
  }
}

function resetOf({ call }: TestApp, { id, account }: TestUser): Promise<Answer> {
  return call('POST', `/v1/users/${id}/reset`, { as: account.apiKey })
}

/** Starts sign-ins and returns their second steps: one code, and some recovery codes. */
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

async function assertAllRevoked(t: Test, { call }: TestApp, user: TestUser, answers: Answer[]) {
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

function change({ call }: TestApp, { id, account }: EnrolledUser, body: object): Promise<Answer> {
  return call('PATCH', `/v1/users/${id}`, { as: account.apiKey, body })
}
