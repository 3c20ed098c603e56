// S25: a clock that steps an hour, forwards or back, and replicas whose clocks differ by an hour. Codes depend on the
// server's clock, so some are rejected. No code is accepted twice, and no response is a 500.
import t from 'tap'
import { ON_EMBEDDED, ON_SERVER, startApp } from '../support/app.ts'
import { createClock } from '../support/clock.ts'
import { openTestDatabase } from '../support/database.ts'
import { verdictOf } from '../support/guesses.ts'
import { createTraffic, sendAll, wasDone } from '../support/traffic.ts'

t.test('a clock step causes no 500, and no code is accepted twice', ON_EMBEDDED, async (t) => {
  const app = await startApp(t)
  const { clock, enrolledUser, recover, verify } = app
  const user = await enrolledUser()
  const used = user.codeAt(clock.now())
  t.equal(verdictOf(await verify(await user.stepToken(), used)), '200')
  const early = await (await createTraffic(app)).prepare()

  for (const minutes of [60, -60, -60, 60]) {
    clock.advance({ minutes })
    const late = await sendAll(early)
    const broken = late.filter(({ answer }) => answer.statusCode >= 500)
    t.same(
      broken.map(({ request, verdict }) => `${request.name}: ${verdict}`),
      [],
      `no 500 after ${minutes} minutes`
    )
    const replay = await verify(await user.stepToken(), used)
    t.equal(verdictOf(replay), '422 code-rejected', 'a used code stays rejected')
    const sent = await sendAll(await (await createTraffic(app)).prepare())
    t.ok(sent.every(wasDone), 'new requests are served', {
      verdicts: sent.map((each) => each.verdict)
    })
  }

  clock.advance({ minutes: 60 })
  t.equal(verdictOf(await verify(await user.stepToken(), user.codeAt(clock.now()))), '200')
  clock.advance({ minutes: -60 })
  // The last time step is an hour ahead. Until the clock reaches it again, users sign in with recovery codes.
  const behind = await verify(await user.stepToken(), user.codeAt(clock.now()))
  t.equal(verdictOf(behind), '422 code-rejected')
  const [recoveryCode = ''] = user.recoveryCodes
  t.equal(verdictOf(await recover(await user.stepToken(), recoveryCode)), '200')
})

t.test('two replicas an hour apart accept a code only once', ON_SERVER, async (t) => {
  const database = await openTestDatabase(t)
  const [slow, fast] = [
    await startApp(t, { database }),
    await startApp(t, { database, clock: createClock(new Date('2026-01-05T10:00:00.000Z')) })
  ]
  const user = await slow.enrolledUser()
  const code = user.codeAt(fast.clock.now())
  const tokens = [await fast.assertedToken(user), await slow.assertedToken(user)] as const
  const both = await Promise.all([
    fast.verify(tokens[0], code),
    slow.verify(tokens[1], code),
    fast.verify(tokens[0], code)
  ])
  // The second guess with the same token may arrive after the first has used the token up.
  const verdicts = both.map(verdictOf)
  t.equal(verdicts.filter((verdict) => verdict === '200').length, 1)
  for (const verdict of verdicts) {
    t.match(verdict, /^(200|422 code-rejected|401 invalid-credential)$/)
  }
  const earlier = await slow.verify(await slow.assertedToken(user), user.codeAt(slow.clock.now()))
  t.equal(verdictOf(earlier), '422 code-rejected', 'a step before the last one is rejected')
  // A token from one replica is expired or not yet valid on the other. The response is never a 5xx.
  for (const [issued, judge] of [
    [tokens[1], fast],
    [tokens[0], slow]
  ] as const) {
    const answer = await judge.verify(issued, '000000')
    t.ok(answer.statusCode < 500, verdictOf(answer))
  }
})
