// S4, S11, S13: if set-ups, removals or new recovery codes race, one wins completely and the others change nothing.
import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { holdDemands } from '../../src/data/policy/demands.ts'
import {
  ON_SERVER,
  OPERATOR_KEY,
  startApp,
  type TestAccount,
  type TestApp,
  type TestUser
} from '../support/app.ts'
import type { Answer } from '../support/calls.ts'
import { tally, verdictOf } from '../support/guesses.ts'
import { MAIL_WAITS, mailsTo } from '../support/records.ts'
import { atOnce, type Replicas, race } from '../support/replicas.ts'
import { NO_ROWS, rowsOf } from '../support/two-factor-rows.ts'

race(
  t,
  async (t, replicas, rounds) => {
    const required = await replicas.first.createAccount()
    await replicas.first.changePolicy(required, { twoFactor: 'required' })
    // Where two-factor is required, the set-up uses step tokens. Where it is optional, it uses access tokens.
    const accountOf = async (round: number) =>
      round % 2 === 0 ? required : await replicas.first.homeAccount()

    await t.test('S4: 200: one of forty confirmations of one enrollment succeeds', (t) =>
      oneConfirm(t, replicas, rounds(20), accountOf)
    )
    await t.test('S13: 401: a step token cannot add an app after one was confirmed', (t) =>
      noSecondApp(t, replicas, rounds(20), accountOf)
    )
    await t.test('S13: 201: twenty concurrent starts leave one pending set-up', (t) =>
      oneEnrollment(t, replicas, rounds(10), accountOf)
    )
    await t.test(
      'S4: 422: two concurrent requests for new recovery codes leave one valid set',
      (t) => oneSetOfCodes(t, replicas, rounds(20))
    )
    await t.test('S11: 204: only one of two apps is removed if one has to stay', (t) =>
      oneAppStays(t, replicas, rounds(20), required)
    )
    await t.test('S13: 204: turning two-factor off and confirming an app never both succeed', (t) =>
      offOrAnother(t, replicas, rounds(20))
    )
  },
  { env: MAIL_WAITS }
)

// An instant that a race hits very rarely: the users were notified, and the change of policy is not committed yet.
t.test(
  '409: a removal waits for a change of policy that is not committed yet',
  ON_SERVER,
  async (t) => {
    const app = await startApp(t)
    const user = await app.enrolledUser()
    const as = await user.accessToken()
    const removed = await app.database.prisma.$transaction(async (transaction) => {
      const where = { accountId: user.account.id }
      await transaction.policy.updateMany({ where, data: { twoFactor: 'required' } })
      const pending = app.call('DELETE', '/v1/users/me/two-factor', { as })
      await Promise.race([pending, sleep(200)])
      // In an array, because a returned promise would be awaited here.
      return [pending]
    })
    const [answer] = await Promise.all(removed)
    t.equal(answer && verdictOf(answer), '409 policy-requires-authenticator')
    t.match(await rowsOf(app, user), { authenticators: 1 })
  }
)

// The same for a mandate, which is stored separately from the policy.
t.test('200: a mandate waits for a removal, and notifies the user', ON_SERVER, async (t) => {
  const app = await startApp(t, { env: MAIL_WAITS })
  const { prisma } = app.database
  const user = await app.enrolledUser()
  const [accountId, userId] = [user.account.id, user.id]
  const set = await prisma.$transaction(async (transaction) => {
    await holdDemands(transaction, accountId)
    const body = { requiredFrom: app.clock.now().toISOString() }
    const path = `/v1/accounts/${accountId}/mandate`
    const pending = app.call('PUT', path, { as: OPERATOR_KEY, body })
    await Promise.race([pending, sleep(200)])
    await transaction.authenticator.deleteMany({ where: { accountId, userId } })
    return [pending]
  })
  await Promise.all(set)
  t.equal((await mailsTo(app, user.email, 'two_factor_required')).length, 1)
})

type AccountOf = (round: number) => Promise<TestAccount>

async function oneConfirm(
  t: Test,
  { first, of }: Replicas,
  rounds: number,
  accountOf: AccountOf
): Promise<void> {
  for (let round = 0; round < rounds; round += 1) {
    const user = await first.createUser({ account: await accountOf(round) })
    const token = await first.assertedToken(user)
    const pending = (await first.enroll(token)).json()
    const code = first.codeAt(pending.setupKey, first.clock.now())
    const answers = await atOnce(40, (index) =>
      of(index).confirm(token, pending.authenticatorId, code)
    )
    assertOneWinner(t, answers)
    const winner = answers.find(({ statusCode }) => statusCode === 200)?.json()
    t.same(await rowsOf(first, user), { ...NO_ROWS, authenticators: 1, recoveryCodes: 10 })
    const [recoveryCode = ''] = winner.recoveryCodes
    const recovered = await of(round).recover(await first.assertedToken(user), recoveryCode)
    t.equal(verdictOf(recovered), '200', "the winner's recovery codes are valid")
  }
}

async function noSecondApp(
  t: Test,
  { first, of }: Replicas,
  rounds: number,
  accountOf: AccountOf
): Promise<void> {
  for (let round = 0; round < rounds; round += 1) {
    const user = await first.createUser({ account: await accountOf(round) })
    const [owner = '', ...others] = await atOnce(7, (index) => of(index).assertedToken(user))
    const pending = (await first.enroll(owner)).json()
    const code = first.codeAt(pending.setupKey, first.clock.now())

    const intrude = async (token: string, index: number): Promise<Answer[]> => {
      // In early rounds before the owner's confirmation is committed, in late rounds after it.
      await sleep(round * 2 + index)
      const started = await of(index).enroll(token)
      if (started.statusCode !== 201) return [started]
      const { authenticatorId, setupKey } = started.json()
      const rightCode = first.codeAt(setupKey, first.clock.now())
      return [await of(index + 1).confirm(token, authenticatorId, rightCode)]
    }
    const [confirmed, ...intruders] = await Promise.all([
      first.confirm(owner, pending.authenticatorId, code).then((answer) => [answer]),
      ...others.map(intrude)
    ])
    assertOneWinner(t, [...confirmed, ...intruders.flat()])
    t.same(await rowsOf(first, user), { ...NO_ROWS, authenticators: 1, recoveryCodes: 10 })

    // Later: all step tokens that were issued before the winner's confirmation are revoked.
    const late = await Promise.all([owner, ...others].map(intrude))
    t.same(tally(late.flat()), { '401 invalid-credential': late.length })
    t.same(await rowsOf(first, user), { ...NO_ROWS, authenticators: 1, recoveryCodes: 10 })
  }
}

async function oneEnrollment(
  t: Test,
  { first, of }: Replicas,
  rounds: number,
  accountOf: AccountOf
): Promise<void> {
  for (let round = 0; round < rounds; round += 1) {
    const user = await first.createUser({ account: await accountOf(round) })
    const token = await first.assertedToken(user)
    const answers = await atOnce(20, (index) => of(index).enroll(token))
    t.same(tally(answers), { '201': 20 })
    t.match(await rowsOf(first, user), { authenticators: 0, enrollments: 1 })
    const confirms = await atOnce(20, (index) => {
      const { authenticatorId, setupKey } = answers[index]?.json() ?? {}
      return first.confirm(token, authenticatorId, first.codeAt(setupKey, first.clock.now()))
    })
    assertOneWinner(t, confirms)
  }
}

async function oneSetOfCodes(t: Test, { first, of }: Replicas, rounds: number): Promise<void> {
  const user = await first.enrolledUser()
  for (let round = 0; round < rounds; round += 1) {
    first.clock.advance({ minutes: 15 })
    const accessToken = await user.accessToken()
    const old = await of(round).newRecoveryCodes(accessToken)
    const stepToken = await first.assertedToken(user)
    const [used, ...sets] = await Promise.all([
      of(round).recover(stepToken, old[0] ?? ''),
      of(0).newRecoveryCodes(accessToken),
      of(1).newRecoveryCodes(accessToken)
    ])
    t.match(verdictOf(used), /^(200|422 code-rejected)$/, 'either before or after the new set')
    t.match(await rowsOf(first, user), { recoveryCodes: 10 })

    const tries = await Promise.all(
      [old, ...sets].map(async (codes) =>
        verdictOf(await first.recover(await first.assertedToken(user), codes[1] ?? ''))
      )
    )
    t.equal(tries[0], '422 code-rejected', 'the former set is invalid')
    t.same(tries.slice(1).sort(), ['200', '422 code-rejected'])
  }
}

async function oneAppStays(
  t: Test,
  { first, of }: Replicas,
  rounds: number,
  account: TestAccount
): Promise<void> {
  for (let round = 0; round < rounds; round += 1) {
    const user = await first.enrolledUser({ account })
    const pending = await startAnother(first, await user.accessToken())
    const as = (await first.confirm(...pending)).json().accessToken
    const stepToken = await first.assertedToken(user)
    const [signIn, ...answers] = await Promise.all([
      sleep(round % 5).then(() => of(round).verify(stepToken, user.nextCode())),
      ...[user.authenticatorId, pending[1]].map((id, index) => removeApp(of(index), as, id))
    ])
    t.same(tally(answers), { '204': 1, '401 invalid-credential': 1 })
    t.match(await rowsOf(first, user), { authenticators: 1, recoveryCodes: 10 })
    t.match(await tracesOf(first, user), {
      'authenticator.remove succeeded': 1,
      'authenticator.remove refused': 1,
      'mail authenticator_removed': 1
    })
    // The removal has revoked the token, whichever app the code came from and however late it came.
    const { accessToken = stepToken } = signIn.json()
    const me = await first.call('GET', '/v1/users/me', { as: accessToken })
    t.equal(verdictOf(me), '401 invalid-credential')
  }
}

async function offOrAnother(t: Test, { first, of }: Replicas, rounds: number): Promise<void> {
  for (let round = 0; round < rounds; round += 1) {
    const user = await first.enrolledUser()
    const as = await user.accessToken()
    const pending = await startAnother(first, as)
    const [confirmed, off] = await Promise.all([
      of(0).confirm(...pending),
      sleep(round % 7).then(() =>
        round % 2 === 0
          ? removeApp(of(1), as, user.authenticatorId)
          : of(1).call('DELETE', '/v1/users/me/two-factor', { as })
      )
    ])
    const isOff = off.statusCode === 204
    t.equal(verdictOf(off), isOff ? '204' : '401 invalid-credential')
    if (isOff) assertLate(t, [verdictOf(confirmed)])
    else t.equal(verdictOf(confirmed), '200')
    const left = isOff ? 0 : 2
    t.same(await rowsOf(first, user), {
      ...NO_ROWS,
      authenticators: left,
      recoveryCodes: left * 5
    })
    const { 'mail two_factor_disabled': mails = 0 } = await tracesOf(first, user)
    t.equal(mails, isOff ? 1 : 0)
  }
}

/** Starts one more app. Returns the arguments of `confirm`. */
async function startAnother({ clock, codeAt, enroll }: TestApp, as: string) {
  const { authenticatorId, setupKey } = (await enroll(as)).json()
  return [as, authenticatorId as string, codeAt(setupKey, clock.now())] as const
}

function removeApp({ call }: TestApp, as: string, id: string): Promise<Answer> {
  return call('DELETE', `/v1/users/me/authenticators/${id}`, { as })
}

/** Counts the audit events about the user by type and outcome, and the mails to them by kind. */
async function tracesOf({ database: { prisma } }: TestApp, { id: userId, email }: TestUser) {
  const events = await prisma.auditEvent.findMany({ where: { userId } })
  const mails = await prisma.outboxMail.findMany({ where: { recipient: email } })
  const names = [
    ...events.map(({ type, outcome }) => `${type} ${outcome}`),
    ...mails.map(({ kind }) => `mail ${kind}`)
  ]
  const counts: Record<string, number> = {}
  for (const name of names) counts[name] = (counts[name] ?? 0) + 1
  return counts
}

/** Asserts that one request won. The others get a 4xx that depends on how late they were. */
function assertOneWinner(t: Test, answers: Answer[]): void {
  const { '200': won, ...lost } = tally(answers)
  t.equal(won, 1, 'one winner', { lost })
  assertLate(t, Object.keys(lost))
}

function assertLate(t: Test, verdicts: string[]): void {
  const expected = ['401 invalid-credential', '404 enrollment-not-found', '422 code-rejected']
  const others = verdicts.filter((verdict) => !expected.includes(verdict))
  t.same(others, [], 'the others get a response for late requests')
}
