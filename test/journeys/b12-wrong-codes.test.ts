// B12: after a wrong code, the user learns how to get a right one: a code works once, and the phone's clock must be right.
import t from 'tap'
import { startApp } from '../support/app.ts'
import { isProblem } from '../support/problems.ts'

const service = await startApp(t, { listen: true })
const { clock, codeAt, confirm, createUser, enroll, enrolledUser, login } = service
const { assertedToken, verify } = service

const phoneAt = (skewSeconds: number) => new Date(clock.now().getTime() + skewSeconds * 1000)

t.test('422: the problem names the cure, and the credential stays valid', async (t) => {
  const user = await enrolledUser()
  const stepToken = await user.stepToken()
  const wrong = await verify(stepToken, user.codeAt(phoneAt(3600)))
  const problem = isProblem(t, wrong, 422, 'code-rejected')
  t.match(problem['detail'], /already used/)
  t.match(problem['detail'], /clock of the phone/)
  t.same(
    { attemptsRemaining: problem['attemptsRemaining'], serverTime: problem['serverTime'] },
    { attemptsRemaining: 4, serverTime: clock.now().toISOString() }
  )
  t.equal(wrong.headers['www-authenticate'], undefined)
  t.equal((await verify(stepToken, user.codeAt(clock.now()))).statusCode, 200)
})

t.test(
  '422: at sign-in the clock skew is not measured, since a guesser must not learn it',
  async (t) => {
    const user = await enrolledUser()
    clock.advance({ minutes: 30 })
    const answer = await verify(await user.stepToken(), user.codeAt(phoneAt(-120)))
    t.equal(isProblem(t, answer, 422, 'code-rejected')['clockSkewSeconds'], undefined)
    t.notMatch(answer.body, /behind|ahead|120/)
  }
)

t.test('422: a used code gets the same response as a wrong code', async (t) => {
  const user = await enrolledUser()
  const code = user.nextCode()
  await verify(await user.stepToken(), code)
  const asked = await user.stepToken()
  const [used, wrong] = [await verify(asked, code), await verify(asked, user.codeAt(phoneAt(3600)))]
  const problems = [used, wrong].map((answer) => {
    const { requestId, attemptsRemaining, ...rest } = isProblem(t, answer, 422, 'code-rejected')
    return rest
  })
  t.same(problems[0], problems[1])
})

t.test('422: during the set-up the problem names the measured clock skew', async (t) => {
  const token = await assertedToken(await createUser())
  const { authenticatorId, setupKey } = (await enroll(token)).json()
  for (const [skew, said] of [
    [120, /120 seconds ahead/],
    [-90, /90 seconds behind/],
    [600, /600 seconds ahead/]
  ] as const) {
    const answer = await confirm(token, authenticatorId, codeAt(setupKey, phoneAt(skew)))
    const problem = isProblem(t, answer, 422, 'code-rejected')
    t.equal(problem['clockSkewSeconds'], skew)
    t.match(problem['detail'], said)
  }
  const farOff = await confirm(token, authenticatorId, codeAt(setupKey, phoneAt(660)))
  t.equal(isProblem(t, farOff, 422, 'code-rejected')['clockSkewSeconds'], undefined)
  const right = await confirm(token, authenticatorId, codeAt(setupKey, clock.now()))
  t.equal(right.statusCode, 200)
})

t.test(
  '429: five wrong codes use up the step token, ten in a row lock codes for 15 minutes',
  async (t) => {
    const user = await enrolledUser()
    const wrongCode = () => user.codeAt(phoneAt(86_400))
    const guess = async (stepToken: string) => (await verify(stepToken, wrongCode())).json()

    const first = await user.stepToken()
    for (const attemptsRemaining of [4, 3, 2, 1, 0]) {
      t.match(await guess(first), { code: 'code-rejected', attemptsRemaining })
    }
    const spent = await verify(first, user.codeAt(clock.now()))
    t.match(isProblem(t, spent, 429, 'too-many-attempts'), {
      scope: 'step_token',
      recoveryOpen: true
    })
    t.ok(Number(spent.headers['retry-after']) > 0)

    const second = await user.stepToken()
    for (const attemptsRemaining of [4, 3, 2, 1, 0]) {
      t.match(await guess(second), { code: 'code-rejected', attemptsRemaining })
    }
    const password = await login(user)
    t.equal(password.statusCode, 200, 'the lock never blocks the password')
    const third = password.json().stepToken
    clock.advance({ seconds: 60 })
    const locked = await verify(third, user.codeAt(clock.now()))
    t.match(isProblem(t, locked, 429, 'too-many-attempts'), { scope: 'user', recoveryOpen: true })
    t.equal(locked.headers['retry-after'], '840')

    clock.advance({ seconds: 840 })
    const { statusCode } = await verify(await user.stepToken(), user.codeAt(clock.now()))
    t.equal(statusCode, 200, 'the lock ends after fifteen minutes')
  }
)
