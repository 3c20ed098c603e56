// S22: password hashing is bounded. The service rejects most of a burst of sign-ins immediately, and codes do not wait.
import t from 'tap'
import { type EnrolledUser, PASSWORD, startApp, type TestUser } from '../support/app.ts'
import { tally, verdictOf } from '../support/guesses.ts'
import { isProblem } from '../support/problems.ts'

const LOGINS = 200

t.test('S20: 503: a full queue does not show which accounts exist', async (t) => {
  const { call, createUser } = await startApp(t)
  const users: TestUser[] = []
  while (users.length < 10) users.push(await createUser())
  const burst = Array.from({ length: LOGINS }, async (_, index) => {
    const user = users[index % users.length]
    const exists = index % 20 < 10
    const slug = exists ? user?.account.slug : `unknown-${index % 10}`
    const body = { account: slug, email: user?.email, password: 'wrong horse, wrong battery' }
    const answer = await call('POST', '/v1/login', { body })
    return { exists, isShed: answer.statusCode === 503 }
  })
  const answers = await Promise.all(burst)
  const shedOf = (exists: boolean) =>
    answers.filter((answer) => answer.exists === exists && answer.isShed).length
  const [known, unknown] = [shedOf(true), shedOf(false)]
  t.ok(
    Math.min(known, unknown) > LOGINS / 8,
    `${known} of known and ${unknown} of unknown accounts`
  )
})

t.test('S22: 503: sign-ins beyond the bound are rejected, and codes stay quick', async (t) => {
  const { assertedToken, clock, enrolledUser, homeAccount, login, verify } = await startApp(t)
  const account = await homeAccount()
  const users: EnrolledUser[] = []
  while (users.length < 5) users.push(await enrolledUser())
  const stepTokens = await Promise.all(users.map(assertedToken))

  const started = performance.now()
  const burst = Array.from({ length: LOGINS }, async (_, index) => {
    // Half of the users exist. Whether a user exists must not decide which sign-ins are shed.
    const email = users[index % 10]?.email ?? `unknown${index}@example.com`
    const answer = await login({ account, email, password: PASSWORD })
    return { answer, exists: index % 10 < users.length, tookMs: performance.now() - started }
  })

  const codes: { verdict: string; tookMs: number }[] = []
  for (const [index, user] of users.entries()) {
    const before = performance.now()
    const answer = await verify(stepTokens[index] ?? '', user.codeAt(clock.now()))
    codes.push({ verdict: verdictOf(answer), tookMs: performance.now() - before })
  }
  t.same(
    codes.map(({ verdict }) => verdict),
    users.map(() => '200')
  )
  const [, , median] = codes.toSorted((one, other) => one.tookMs - other.tookMs)
  const burstMs = Math.max(...(await Promise.all(burst)).map(({ tookMs }) => tookMs))
  t.ok(median && median.tookMs < burstMs, 'codes do not wait for the burst', { codes, burstMs })

  const answers = await Promise.all(burst)
  const { '503 unavailable': shed = 0, ...others } = tally(answers.map(({ answer }) => answer))
  t.ok(shed >= LOGINS / 4, 'most of the burst is shed', { shed, others })
  t.same(Object.keys(others).sort(), ['200', '401 invalid-credentials'], 'no other failure')
  for (const exists of [true, false]) {
    const ofKind = answers.filter((answer) => answer.exists === exists)
    t.ok(
      tally(ofKind.map(({ answer }) => answer))['503 unavailable'],
      exists ? 'of known users too' : 'of unknown users too'
    )
  }
  for (const { answer } of answers.filter(({ answer }) => answer.statusCode === 503).slice(0, 3)) {
    isProblem(t, answer, 503, 'unavailable')
    t.ok(Number(answer.headers['retry-after']) > 0, 'Retry-After')
  }
  // Three are hashed at the same time and twenty wait. Others get a place that becomes free while the burst arrives.
  const hashed = LOGINS - shed
  t.ok(hashed >= 20 && hashed <= LOGINS / 2, 'no endless queue', { hashed })

  const [user = { account, email: '', password: '' }] = users
  t.equal(verdictOf(await login(user)), '200', 'after the burst, sign-ins succeed again')
})
