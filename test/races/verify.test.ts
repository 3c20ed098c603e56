// S1, S3, S4: a code is accepted only once and no budget is exceeded, for any number of concurrent requests on any
// number of replicas.
import t, { type Test } from 'tap'
import type { EnrolledUser, TestApp } from '../support/app.ts'
import { tally, WRONG_RECOVERY_CODE, wrongCode } from '../support/guesses.ts'
import { atOnce, type Replicas, race } from '../support/replicas.ts'

const AT_ONCE = 40
/** The losers of a race are judged again, as replays. Ten of them lock the path. */
const ONE_WINNER = {
  '200': 1,
  '422 code-rejected': 10,
  [`429 too-many-attempts`]: AT_ONCE - 11
}

race(t, async (t, replicas, rounds) => {
  await t.test('S4: 422: one code under forty step tokens is accepted once', (t) =>
    oneCode(t, replicas, rounds(20))
  )
  await t.test('S4: 422: one code under one step token is accepted once', (t) =>
    oneStepToken(t, replicas, rounds(20))
  )
  await t.test('S4: 422: one recovery code is accepted once', (t) =>
    oneRecoveryCode(t, replicas, rounds(20))
  )
  await t.test('S3: 429: five of a hundred wrong codes under one step token are judged', (t) =>
    wrongUnderOneToken(t, replicas, rounds(5))
  )
  await t.test('S3: 429: ten of a hundred wrong codes under twenty step tokens are judged', (t) =>
    wrongUnderManyTokens(t, replicas, rounds(5))
  )
  await t.test(
    'S5: 429: five wrong codes and five wrong recovery codes are judged in a race',
    (t) => wrongOnBothPaths(t, replicas, rounds(5))
  )
})

async function oneCode(t: Test, { first, of }: Replicas, rounds: number): Promise<void> {
  const user = await first.enrolledUser()
  for (let round = 0; round < rounds; round += 1) {
    first.clock.advance({ minutes: 15 })
    const stepTokens = await atOnce(AT_ONCE, (index) => of(index).assertedToken(user))
    const code = user.codeAt(first.clock.now())
    const answers = await Promise.all(
      stepTokens.map((token, index) => of(index).verify(token, code))
    )
    t.same(tally(answers), ONE_WINNER)
  }
}

async function oneStepToken(t: Test, { first, of }: Replicas, rounds: number): Promise<void> {
  const user = await first.enrolledUser()
  for (let round = 0; round < rounds; round += 1) {
    first.clock.advance({ minutes: 15 })
    const stepToken = await first.assertedToken(user)
    const code = user.codeAt(first.clock.now())
    const counts = tally(await atOnce(AT_ONCE, (index) => of(index).verify(stepToken, code)))
    // A request that was admitted before the winner finished gets 422; a later one gets 401.
    const { '422 code-rejected': late = 0, '401 invalid-credential': later = 0, ...rest } = counts
    t.same(rest, { '200': 1 })
    t.equal(late + later, AT_ONCE - 1)
    t.match(await pathsOf(first, user), { codeFailures: 0 }, 'a lost race is no failed guess')
  }
}

async function oneRecoveryCode(t: Test, { first, of }: Replicas, rounds: number): Promise<void> {
  const user = await first.enrolledUser()
  let codes = user.recoveryCodes
  for (let round = 0; round < rounds; round += 1) {
    first.clock.advance({ minutes: 15 })
    const stepTokens = await atOnce(AT_ONCE, (index) => of(index).assertedToken(user))
    const [code = '', ...left] = codes
    const answers = await Promise.all(
      stepTokens.map((token, index) => of(index).recover(token, code))
    )
    t.same(tally(answers), ONE_WINNER)
    const winner = answers.find(({ statusCode }) => statusCode === 200)?.json()
    t.equal(winner.recoveryCodesRemaining, left.length)
    codes = left.length > 0 ? left : await first.newRecoveryCodes(winner.accessToken)
  }
}

async function wrongUnderOneToken(t: Test, replicas: Replicas, rounds: number): Promise<void> {
  const { first, of } = replicas
  const user = await first.enrolledUser()
  for (let round = 0; round < rounds; round += 1) {
    const stepToken = await first.assertedToken(user)
    const code = wrongCode(user, first.clock.now())
    const answers = await atOnce(100, (index) => of(index).verify(stepToken, code))
    t.same(tally(answers), { '422 code-rejected': 5, '429 too-many-attempts': 95 })
    t.match(await pathsOf(first, user), { codeFailures: 5, codeLockedUntil: null })
    t.same(await attemptsOn(first, user, 'codeAttempts'), [5])
    await startOver(t, first, user)
  }
}

async function wrongUnderManyTokens(t: Test, replicas: Replicas, rounds: number): Promise<void> {
  const { first, of } = replicas
  const user = await first.enrolledUser()
  for (let round = 0; round < rounds; round += 1) {
    const stepTokens = await atOnce(20, (index) => of(index).assertedToken(user))
    const code = wrongCode(user, first.clock.now())
    const answers = await atOnce(100, (index) =>
      of(index).verify(stepTokens[index % stepTokens.length] ?? '', code)
    )
    t.same(tally(answers), { '422 code-rejected': 10, '429 too-many-attempts': 90 })
    const remaining = answers.flatMap((answer) =>
      answer.statusCode === 422 ? [answer.json().attemptsRemaining] : []
    )
    t.ok(remaining.includes(0), 'the last judged request reports that no attempts remain')
    const lockedUntil = new Date(first.clock.now().getTime() + 15 * 60_000)
    t.match(await pathsOf(first, user), { codeFailures: 10, codeLockedUntil: lockedUntil })
    const attempts = await attemptsOn(first, user, 'codeAttempts')
    t.equal(
      attempts.reduce((sum, count) => sum + count, 0),
      10
    )
    await startOver(t, first, user)
  }
}

async function wrongOnBothPaths(t: Test, replicas: Replicas, rounds: number): Promise<void> {
  const { first, of } = replicas
  const user = await first.enrolledUser()
  for (let round = 0; round < rounds; round += 1) {
    const stepToken = await first.assertedToken(user)
    const code = wrongCode(user, first.clock.now())
    const answers = await atOnce(100, (index) =>
      index % 4 < 2
        ? of(index).verify(stepToken, code)
        : of(index).recover(stepToken, WRONG_RECOVERY_CODE)
    )
    t.same(tally(answers), { '422 code-rejected': 10, '429 too-many-attempts': 90 })
    t.match(await pathsOf(first, user), { codeFailures: 5, recoveryFailures: 5 })
    t.same(await attemptsOn(first, user, 'codeAttempts'), [5])
    t.same(await attemptsOn(first, user, 'recoveryAttempts'), [5])
    await first.database.prisma.user.updateMany({
      where: { id: user.id },
      data: { recoveryFailures: 0 }
    })
    await startOver(t, first, user)
  }
}

/** Waits for the lock to end. Then a right code clears the counted failures. */
async function startOver(t: Test, app: TestApp, user: EnrolledUser): Promise<void> {
  app.clock.advance({ minutes: 15 })
  const answer = await app.verify(await app.assertedToken(user), user.codeAt(app.clock.now()))
  t.equal(answer.statusCode, 200, 'the right code is accepted afterwards')
  await app.database.prisma.stepToken.deleteMany({ where: { userId: user.id } })
}

function pathsOf({ database }: TestApp, { id }: EnrolledUser) {
  return database.prisma.user.findFirstOrThrow({ where: { id } })
}

async function attemptsOn(
  { database }: TestApp,
  { id: userId }: EnrolledUser,
  budget: 'codeAttempts' | 'recoveryAttempts'
): Promise<number[]> {
  const rows = await database.prisma.stepToken.findMany({ where: { userId } })
  return rows.map((row) => row[budget])
}
