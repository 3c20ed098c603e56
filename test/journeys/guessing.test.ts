// S3, S5, S7: what an attacker who guesses codes gets, and which ways to sign in stay open for the user.
import t, { type Test } from 'tap'
import { createVerdicts } from '../../src/data/sign-in/verdicts.ts'
import { type EnrolledUser, startApp, type TestApp } from '../support/app.ts'
import { verdictOf, WRONG_RECOVERY_CODE, wrongCode } from '../support/guesses.ts'
import { isProblem } from '../support/problems.ts'

const service = await startApp(t)
const { clock, enrolledUser, login, recover, verify } = service

const LOCK_SECONDS = 900

t.test('S3: 422 counts down to the smallest budget, then 429 names that budget', async (t) => {
  const user = await enrolledUser()
  const [first, second, third] = [
    await user.stepToken(),
    await user.stepToken(),
    await user.stepToken()
  ]
  await isCountedDown(t, user, first, [4, 3, 2])
  await isCountedDown(t, user, second, [4, 3, 2, 1, 0])
  await isSpent(t, user, second, { scope: 'step_token', recoveryOpen: true })
  await isCountedDown(t, user, first, [1])
  await isCountedDown(
    t,
    user,
    third,
    [0],
    'the tenth attempt of the user, the first of the step token'
  )
  await isSpent(t, user, first, { scope: 'user', recoveryOpen: true })
  await isSpent(t, user, third, { scope: 'user', recoveryOpen: true })
})

t.test('S3: a new password sign-in does not reset the attempts', async (t) => {
  const user = await enrolledUser()
  await isCountedDown(t, user, await user.stepToken(), [4, 3, 2, 1, 0])
  await isCountedDown(t, user, await user.stepToken(), [4, 3, 2, 1, 0])
  for (let again = 0; again < 3; again += 1) {
    const password = await login(user)
    t.equal(password.statusCode, 200, 'passwords still work')
    await isSpent(t, user, password.json().stepToken, { scope: 'user', recoveryOpen: true })
  }
})

t.test('S3: guesses with an access token count against the same ten attempts', async (t) => {
  const user = await enrolledUser()
  const accessToken = await user.accessToken()
  await isCountedDown(t, user, await user.stepToken(), [4, 3, 2, 1])
  await isCountedDown(t, user, accessToken, [5, 4, 3, 2, 1, 0], 'no budget of a step token applies')
  await isSpent(t, user, accessToken, { scope: 'user', recoveryOpen: true })
  await isSpent(t, user, await user.stepToken(), { scope: 'user', recoveryOpen: true })
})

t.test('S7: 429: a right code is rejected during a lock, and nothing changes', async (t) => {
  const user = await enrolledUser()
  const accessToken = await user.accessToken()
  await lockCodes(user)
  const locked = await stateOf(service, user)
  t.match(locked.user, {
    codeFailures: 10,
    codeLockedUntil: new Date(clock.now().getTime() + LOCK_SECONDS * 1000)
  })
  const stepToken = await user.stepToken()
  for (const [seconds, left] of [
    [0, '900'],
    [1, '899'],
    [298, '601']
  ] as const) {
    clock.advance({ seconds })
    for (const token of [stepToken, accessToken]) {
      const answer = await verify(token, user.codeAt(clock.now()))
      const problem = isProblem(t, answer, 429, 'too-many-attempts')
      t.match(problem, { scope: 'user', recoveryOpen: true })
      t.equal(problem['attemptsRemaining'], undefined)
      t.equal(answer.headers['retry-after'], left)
    }
  }
  t.same(await stateOf(service, user), locked)

  clock.advance({ seconds: 600 })
  const tooEarly = await verify(await user.stepToken(), user.codeAt(clock.now()))
  isProblem(t, tooEarly, 429, 'too-many-attempts')
  t.equal(tooEarly.headers['retry-after'], '1')
  clock.advance({ seconds: 1 })
  t.equal(verdictOf(await verify(await user.stepToken(), user.codeAt(clock.now()))), '200')
  t.match((await stateOf(service, user)).user, { codeFailures: 0, codeLockedUntil: null })
})

t.test('S7: 429: a right and a wrong code get the same response during a lock', async (t) => {
  const user = await enrolledUser()
  await lockCodes(user)
  const stepToken = await user.stepToken()
  const answers = [
    await verify(stepToken, user.codeAt(clock.now())),
    await verify(stepToken, wrongCode(user, clock.now()))
  ]
  const seen = answers.map((answer) => {
    const { requestId, ...problem } = isProblem(t, answer, 429, 'too-many-attempts')
    const { 'x-request-id': _id, date: _date, ...headers } = answer.headers
    return { problem, headers: { ...headers, 'ratelimit-remaining': 'any' } }
  })
  t.same(seen[0], seen[1])
})

t.test(
  'S3: 200: a right code clears the failures: nine wrong, one right, nine wrong',
  async (t) => {
    const user = await enrolledUser()
    for (let round = 0; round < 3; round += 1) {
      await isCountedDown(t, user, await user.stepToken(), [4, 3, 2, 1, 0])
      await isCountedDown(t, user, await user.stepToken(), [4, 3, 2, 1])
      t.equal(verdictOf(await verify(await user.stepToken(), user.nextCode())), '200')
    }
  }
)

t.test('S3: 422: a replayed code costs an attempt like any other wrong code', async (t) => {
  const user = await enrolledUser()
  const code = user.nextCode()
  t.equal(verdictOf(await verify(await user.stepToken(), code)), '200')
  const stepToken = await user.stepToken()
  for (const attemptsRemaining of [4, 3, 2, 1, 0]) {
    t.match((await verify(stepToken, code)).json(), { code: 'code-rejected', attemptsRemaining })
  }
  isProblem(t, await verify(stepToken, code), 429, 'too-many-attempts')
})

t.test(
  'S25: 401: a used-up step token stays rejected after a fast clock considers it expired',
  async (t) => {
    const user = await enrolledUser()
    const [usedUp, guessed] = [await user.stepToken(), await user.stepToken()]
    t.equal(verdictOf(await verify(usedUp, user.codeAt(clock.now()))), '200')
    await isCountedDown(t, user, guessed, [4, 3, 2, 1, 0])

    const { forgetExpiredStepTokens } = createVerdicts(service.database)
    const later = (minutes: number) => new Date(clock.now().getTime() + minutes * 60_000)
    await forgetExpiredStepTokens(later(30))
    isProblem(t, await verify(usedUp, user.nextCode()), 401, 'invalid-credential')
    isProblem(t, await verify(guessed, user.nextCode()), 429, 'too-many-attempts')
    await forgetExpiredStepTokens(later(120))
    t.same((await stateOf(service, user)).stepTokens, [], 'the rows are deleted in the end')
  }
)

t.test('S5: a step token has five attempts for codes and five for recovery codes', async (t) => {
  const user = await enrolledUser()
  const stepToken = await user.stepToken()
  await isCountedDown(t, user, stepToken, [4, 3, 2, 1, 0])
  await isSpent(t, user, stepToken, { scope: 'step_token', recoveryOpen: true })
  for (const attemptsRemaining of [4, 3, 2, 1, 0]) {
    const answer = await recover(stepToken, WRONG_RECOVERY_CODE)
    t.match(isProblem(t, answer, 422, 'code-rejected'), { attemptsRemaining })
  }
  const [recoveryCode = ''] = user.recoveryCodes
  const spent = await recover(stepToken, recoveryCode)
  t.match(isProblem(t, spent, 429, 'too-many-attempts'), {
    scope: 'step_token',
    recoveryOpen: false
  })
  await isSpent(t, user, stepToken, { scope: 'step_token', recoveryOpen: false })
  t.equal(verdictOf(await recover(await user.stepToken(), recoveryCode)), '200', 'not used up')
})

t.test('S5: 200: a recovery code works while codes are locked, and ends that lock', async (t) => {
  const user = await enrolledUser()
  await lockCodes(user)
  const stepToken = await user.stepToken()
  await isSpent(t, user, stepToken, { scope: 'user', recoveryOpen: true })
  t.equal(verdictOf(await recover(stepToken, user.recoveryCodes[0] ?? '')), '200')
  t.match((await stateOf(service, user)).user, { codeFailures: 0, codeLockedUntil: null })
  await isCountedDown(t, user, await user.stepToken(), [4], 'with the whole budget')
  t.equal(verdictOf(await verify(await user.stepToken(), user.codeAt(clock.now()))), '200')
})

t.test(
  'S5: 200: codes work while recovery codes are locked, and do not end that lock',
  async (t) => {
    const user = await enrolledUser()
    await lockRecoveryCodes(user)
    const stepToken = await user.stepToken()
    const locked = await recover(stepToken, user.recoveryCodes[0] ?? '')
    t.match(isProblem(t, locked, 429, 'too-many-attempts'), { scope: 'user', recoveryOpen: false })
    t.equal(locked.headers['retry-after'], String(LOCK_SECONDS))
    t.equal(verdictOf(await verify(stepToken, user.codeAt(clock.now()))), '200')
    t.match((await stateOf(service, user)).user, { codeFailures: 0, recoveryFailures: 10 })
    isProblem(
      t,
      await recover(await user.stepToken(), user.recoveryCodes[0] ?? ''),
      429,
      'too-many-attempts'
    )

    await lockCodes(user)
    await isSpent(t, user, await user.stepToken(), { scope: 'user', recoveryOpen: false })
    clock.advance({ seconds: LOCK_SECONDS })
    t.equal(verdictOf(await recover(await user.stepToken(), user.recoveryCodes[0] ?? '')), '200')
  }
)

t.test('S5: 429: recoveryOpen is false for a user without recovery codes', async (t) => {
  const user = await enrolledUser()
  for (const recoveryCode of user.recoveryCodes) {
    t.equal(verdictOf(await recover(await user.stepToken(), recoveryCode)), '200')
  }
  await lockCodes(user)
  await isSpent(t, user, await user.stepToken(), { scope: 'user', recoveryOpen: false })
})

t.test(
  'S3: 403: fifty wrong codes in a row disable codes until a recovery code is used',
  async (t) => {
    const user = await enrolledUser()
    for (let lock = 1; lock < 5; lock += 1) {
      await lockCodes(user)
      await isSpent(t, user, await user.stepToken(), { scope: 'user', recoveryOpen: true })
      clock.advance({ seconds: LOCK_SECONDS })
    }
    await isCountedDown(t, user, await user.stepToken(), [4, 3, 2, 1, 0])
    await isCountedDown(t, user, await user.stepToken(), [4, 3, 2, 1, 0])
    t.match((await stateOf(service, user)).user, { codeFailures: 50 })
    const disabled = await stateOf(service, user)
    for (const minutes of [0, 15, 60 * 24 * 365]) {
      clock.advance({ minutes })
      const answer = await verify(await user.stepToken(), user.codeAt(clock.now()))
      isProblem(t, answer, 403, 'authenticator-disabled')
    }
    t.same(await stateOf(service, user), disabled, 'no right code was accepted')
    t.equal(verdictOf(await recover(await user.stepToken(), user.recoveryCodes[0] ?? '')), '200')
    t.equal(verdictOf(await verify(await user.stepToken(), user.codeAt(clock.now()))), '200')
  }
)

t.test('S3: the environment sets the budgets', async (t) => {
  const strict = await startApp(t, {
    env: {
      CODE_ATTEMPTS_PER_STEP_TOKEN: '2',
      CODE_ATTEMPTS_BEFORE_LOCK: '3',
      CODE_LOCK_SECONDS: '60',
      CODE_ATTEMPTS_BEFORE_DISABLED: '10'
    }
  })
  const user = await strict.enrolledUser()
  const guess = async (token: string) => {
    const answer = await strict.verify(token, wrongCode(user, strict.clock.now()))
    return [verdictOf(answer), answer.json().attemptsRemaining, answer.json().scope]
  }
  const first = await user.stepToken()
  t.same(await guess(first), ['422 code-rejected', 1, undefined])
  t.same(await guess(first), ['422 code-rejected', 0, undefined])
  t.same(await guess(first), ['429 too-many-attempts', undefined, 'step_token'])
  t.same(await guess(await user.stepToken()), ['422 code-rejected', 0, undefined])
  for (const lock of [2, 3]) {
    const locked = await strict.verify(await user.stepToken(), user.codeAt(strict.clock.now()))
    t.match(isProblem(t, locked, 429, 'too-many-attempts'), { scope: 'user' }, `lock ${lock}`)
    t.equal(locked.headers['retry-after'], '60')
    strict.clock.advance({ seconds: 60 })
    t.same(await guess(await user.stepToken()), ['422 code-rejected', 1, undefined])
    t.same(await guess(await user.stepToken()), ['422 code-rejected', 1, undefined])
    t.same(await guess(await user.stepToken()), ['422 code-rejected', 0, undefined])
  }
  strict.clock.advance({ seconds: 60 })
  t.same(
    await guess(await user.stepToken()),
    ['422 code-rejected', 0, undefined],
    'the tenth attempt'
  )
  strict.clock.advance({ minutes: 60 })
  const disabled = await strict.verify(await user.stepToken(), user.codeAt(strict.clock.now()))
  isProblem(t, disabled, 403, 'authenticator-disabled')
})

/** Sends wrong codes with a token. Asserts the remaining attempts in each response. */
async function isCountedDown(
  t: Test,
  user: EnrolledUser,
  token: string,
  expected: number[],
  message = 'attemptsRemaining'
): Promise<void> {
  const remaining: unknown[] = []
  for (const _guess of expected) {
    const answer = await verify(token, wrongCode(user, clock.now()))
    remaining.push(isProblem(t, answer, 422, 'code-rejected')['attemptsRemaining'])
  }
  t.same(remaining, expected, message)
}

/** Asserts that wrong and right codes are no longer judged. */
async function isSpent(
  t: Test,
  user: EnrolledUser,
  token: string,
  expected: { scope: string; recoveryOpen: boolean }
): Promise<void> {
  const state = await stateOf(service, user)
  for (const code of [wrongCode(user, clock.now()), user.codeAt(clock.now())]) {
    const answer = await verify(token, code)
    t.match(isProblem(t, answer, 429, 'too-many-attempts'), expected)
    t.ok(Number(answer.headers['retry-after']) > 0, 'Retry-After')
  }
  t.same(await stateOf(service, user), state)
}

async function lockCodes(user: EnrolledUser): Promise<void> {
  for (const stepToken of [await user.stepToken(), await user.stepToken()]) {
    for (let guess = 0; guess < 5; guess += 1) await verify(stepToken, wrongCode(user, clock.now()))
  }
}

async function lockRecoveryCodes(user: EnrolledUser): Promise<void> {
  for (const stepToken of [await user.stepToken(), await user.stepToken()]) {
    for (let guess = 0; guess < 5; guess += 1) await recover(stepToken, WRONG_RECOVERY_CODE)
  }
}

/** Returns every column that a verdict may write. */
async function stateOf({ database: { prisma } }: TestApp, { id }: EnrolledUser) {
  return {
    user: await prisma.user.findFirstOrThrow({ where: { id } }),
    authenticators: await prisma.authenticator.findMany({ where: { userId: id } }),
    recoveryCodes: await prisma.recoveryCode.count({ where: { userId: id } }),
    stepTokens: await prisma.stepToken.findMany({
      where: { userId: id },
      orderBy: { jti: 'asc' }
    })
  }
}
