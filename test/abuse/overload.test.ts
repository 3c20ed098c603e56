import t from 'tap'
import { startApp } from '../support/app.ts'
import { isProblem } from '../support/problems.ts'
import { atOnce } from '../support/replicas.ts'

t.test(
  'S22: 200 sign-ins at once are served or shed, and the second step stays quick meanwhile',
  async (t) => {
    const { createUser, enrolledUser, login, verify } = await startApp(t)
    const [user, enrolled] = [await createUser(), await enrolledUser()]
    const stepToken = await enrolled.stepToken()

    const startedAt = performance.now()
    const burst = atOnce(200, () => login(user))
    const second = await verify(stepToken, enrolled.nextCode())
    const verifiedAfterMs = performance.now() - startedAt
    const answers = await burst
    const burstMs = performance.now() - startedAt

    t.equal(second.statusCode, 200)
    t.ok(verifiedAfterMs < burstMs, 'it did not wait for the burst', { verifiedAfterMs, burstMs })
    const served = answers.filter(({ statusCode }) => statusCode === 200)
    const shed = answers.filter(({ statusCode }) => statusCode !== 200)
    t.ok(served.length >= 20, 'as many as the queue holds are served', { served: served.length })
    t.ok(shed.length > 0, 'the rest is shed')
    for (const answer of shed) {
      isProblem(t, answer, 503, 'unavailable')
      t.match(answer.headers, { 'retry-after': /^\d+$/ })
    }
    t.equal((await login(user)).statusCode, 200, 'and the next one is served again')
  }
)
