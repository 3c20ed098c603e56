// S1, S3, S4: however many requests come at once, on however many replicas, a code is good once and no budget
// is exceeded.
import t, { type Test } from 'tap'
import type { EnrolledUser, TestApp } from '../support/app.ts'
import { tally, WRONG_RECOVERY_CODE, wrongCode } from '../support/guesses.ts'
import { atOnce, type Replicas, race } from '../support/replicas.ts'

const AT_ONCE = 40
/** Losers of a race are judged again, as the replays that they are: ten of them lock the path. */
const ONE_WINNER = {
  '200': 1,
  '422 code-rejected': 10,
  [`429 too-many-attempts`]: AT_ONCE - 11
}

race(t, async (t, replicas, rounds) => {
  await t.test('S4: one code, forty step tokens: one 200', (t) => oneCode(t, replicas, rounds(20)))
  await t.test('S4: one code, one step token: one 200', (t) =>
    oneStepToken(t, replicas, rounds(20))
  )
  await t.test('S4: one recovery code: one 200', (t) => oneRecoveryCode(t, replicas, rounds(20)))
  await t.test('S3: a hundred wrong codes, one step token: five are judged', (t) =>
    wrongUnderOneToken(t, replicas, rounds(5))
  )
  await t.test('S3: a hundred wrong codes, twenty step tokens: ten are judged', (t) =>
    wrongUnderManyTokens(t, replicas, rounds(5))
  )
  await t.test('S5: wrong codes and wrong recovery codes at once: five of each are judged', (t) =>
    wrongOnBothPaths(t, replicas, rounds(5))
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
    // Whoever was admitted before the winner finished is 422; whoever came after it, 401.
    const { '422 code-rejected': late = 0, '401 invalid-credential': dead = 0, ...rest } = counts
    t.same(rest, { '200': 1 })
    t.equal(late + dead, AT_ONCE - 1)
    t.match(await pathsOf(first, user), { codeFailures: 0 }, 'losing it is no guess')
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
    t.ok(remaining.includes(0), 'the last to be judged is told that it was the last')
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

/** A lock later, a right code clears what has been counted. */
async function startOver(t: Test, app: TestApp, user: EnrolledUser): Promise<void> {
  app.clock.advance({ minutes: 15 })
  const answer = await app.verify(await app.assertedToken(user), user.codeAt(app.clock.now()))
  t.equal(answer.statusCode, 200, 'the right code is still good afterwards')
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
