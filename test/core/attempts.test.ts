import { deepStrictEqual, ok } from 'node:assert/strict'
import fc from 'fast-check'
import t from 'tap'
import {
  type AttemptLimits,
  admitAttempt,
  afterFailure,
  attemptsRemaining,
  CLEAR,
  CODE_ATTEMPTS,
  isClosed,
  type PathState,
  recoveryAttempts
} from '../../src/core/attempts.ts'

const NOON = new Date('2030-01-02T12:00:00Z')
const LOCK_MS = 15 * 60_000
const RECOVERY_ATTEMPTS = recoveryAttempts(CODE_ATTEMPTS)
const after = (ms: number) => new Date(NOON.getTime() + ms)

t.test('the limits are the numbers in SECURITY.md', async (t) => {
  t.strictSame(CODE_ATTEMPTS, {
    perStepToken: 5,
    beforeLock: 10,
    lockSeconds: 900,
    beforeDisabled: 50
  })
  t.strictSame(RECOVERY_ATTEMPTS, { ...CODE_ATTEMPTS, beforeDisabled: null })
  t.strictSame(CLEAR, { failures: 0, lockedUntil: null, disabledAt: null })
})

t.test('an attempt is admitted only if every budget allows it', async (t) => {
  const lockedUntil = after(1)
  const disabledAt = after(-1)
  const admitted = { admitted: true }
  const spent = { admitted: false, reason: 'step_token_spent' }
  const locked = { admitted: false, reason: 'locked', until: lockedUntil }
  const disabled = { admitted: false, reason: 'disabled' }
  const table: [string, Partial<PathState>, number | null, object][] = [
    ['a clear path', {}, 0, admitted],
    ['the fifth under a step token', {}, 4, admitted],
    ['the sixth under a step token', {}, 5, spent],
    ['more attempts recorded than the budget allows', {}, 50, spent],
    ['an access token, which has no such budget', {}, null, admitted],
    ['nine failures and no lock', { failures: 9 }, 0, admitted],
    ['a lock with a millisecond to go', { lockedUntil }, 0, locked],
    ['a lock that ends now', { lockedUntil: NOON }, 0, admitted],
    ['a lock in the past', { lockedUntil: after(-1) }, 0, admitted],
    ['a lock, and the token spent', { lockedUntil }, 5, locked],
    ['a lock, and an access token', { lockedUntil }, null, locked],
    ['an ended lock, and the token spent', { lockedUntil: NOON }, 5, spent],
    ['disabled', { disabledAt }, 0, disabled],
    ['disabled by another replica whose clock is ahead', { disabledAt: after(1) }, null, disabled],
    ['disabled and locked and spent', { disabledAt, lockedUntil }, 5, disabled]
  ]
  for (const [name, path, stepTokenAttempts, expected] of table) {
    const input = {
      path: { ...CLEAR, ...path },
      stepTokenAttempts,
      limits: CODE_ATTEMPTS,
      now: NOON
    }
    t.strictSame(admitAttempt(input), expected, name)
    t.equal(
      attemptsRemaining(input) > 0,
      expected === admitted,
      `${name}: attemptsRemaining agrees`
    )
    const isRefusedByPath = expected === locked || expected === disabled
    t.equal(isClosed(input.path, NOON), isRefusedByPath, `${name}: isClosed agrees`)
  }
})

t.test('every tenth failure in a row locks the path, and the fiftieth disables it', async (t) => {
  let path = CLEAR
  for (let failures = 1; failures <= 50; failures++) {
    const now = after(failures * LOCK_MS * 2)
    const before = path.lockedUntil
    path = afterFailure(path, CODE_ATTEMPTS, now)
    t.strictSame(path, {
      failures,
      lockedUntil: failures % 10 === 0 ? new Date(now.getTime() + LOCK_MS) : before,
      disabledAt: failures === 50 ? now : null
    })
  }
})

t.test('the recovery path is locked too, but never disabled', async (t) => {
  let path = CLEAR
  for (let failures = 1; failures <= 200; failures++) {
    path = afterFailure(path, RECOVERY_ATTEMPTS, after(failures))
  }
  t.strictSame(path, { failures: 200, lockedUntil: after(200 + LOCK_MS), disabledAt: null })
})

t.test(
  'a limit that is lowered below the count of failures disables the path at the next failure',
  async (t) => {
    const path = { ...CLEAR, failures: 47 }
    const limits = { ...CODE_ATTEMPTS, beforeDisabled: 20 }
    const input = { path, stepTokenAttempts: 0, limits, now: NOON }
    t.equal(attemptsRemaining(input), 1)
    t.strictSame(afterFailure(path, limits, NOON).disabledAt, NOON)
  }
)

t.test('afterFailure does not change the state that it receives', async (t) => {
  const path = Object.freeze({ failures: 9, lockedUntil: null, disabledAt: null })
  t.equal(afterFailure(path, CODE_ATTEMPTS, NOON).failures, 10)
  t.strictSame(path, { failures: 9, lockedUntil: null, disabledAt: null })
})

/** The outcome of one guess, as an observer sees it. */
interface Event {
  at: number
  token: number | null
  outcome: 'refused' | 'wrong' | 'right'
}
interface Step {
  kind: 'wrong' | 'right'
  /** The step token of the guess; null for an access token. */
  token: number | null
  elapsedMs: number
}

/** Applies the steps of an attacker to the pure functions in the order in which the routes call them. */
function play(steps: Step[], limits: AttemptLimits): { events: Event[]; path: PathState } {
  let path = CLEAR
  let at = NOON.getTime()
  const attempts = new Map<number, number>()
  const events = steps.map(({ kind, token, elapsedMs }): Event => {
    at += elapsedMs
    const now = new Date(at)
    const stepTokenAttempts = token === null ? null : (attempts.get(token) ?? 0)
    const before = path
    if (!admitAttempt({ path, stepTokenAttempts, limits, now }).admitted) {
      deepStrictEqual(path, before)
      return { at, token, outcome: 'refused' }
    }
    if (token !== null) attempts.set(token, (stepTokenAttempts ?? 0) + 1)
    path = kind === 'wrong' ? afterFailure(path, limits, now) : CLEAR
    return { at, token, outcome: kind }
  })
  return { events, path }
}

const steps = fc.array(
  fc.record({
    kind: fc.oneof(
      { weight: 60, arbitrary: fc.constant('wrong' as const) },
      { weight: 1, arbitrary: fc.constant('right' as const) }
    ),
    token: fc.option(fc.integer({ min: 0, max: 60 }), { freq: 4 }),
    elapsedMs: fc.oneof(
      { weight: 8, arbitrary: fc.integer({ min: 0, max: 1000 }) },
      { weight: 2, arbitrary: fc.constantFrom(LOCK_MS - 1, LOCK_MS, LOCK_MS + 1) }
    )
  }),
  { minLength: 100, maxLength: 200, size: 'max' }
)

/** Returns the judged wrong guesses, split into runs at each success. */
function runsOfFailures(events: Event[]): Event[][] {
  const runs: Event[][] = [[]]
  for (const event of events) {
    if (event.outcome === 'right') runs.push([])
    if (event.outcome === 'wrong') runs.at(-1)?.push(event)
  }
  return runs
}

t.test('property: no sequence of guesses exceeds a budget', async (t) => {
  let locks = 0
  let disabled = 0
  fc.assert(
    fc.property(steps, (sequence) => {
      const { events, path } = play(sequence, CODE_ATTEMPTS)
      const wrong = events.filter(({ outcome }) => outcome === 'wrong')
      for (const token of new Set(wrong.map((event) => event.token))) {
        if (token !== null) ok(wrong.filter((event) => event.token === token).length <= 5)
      }
      for (const run of runsOfFailures(events)) {
        ok(run.length <= 50)
        run.forEach(({ at }, index) => {
          const tenLater = run[index + 10]
          ok(!tenLater || tenLater.at - at >= LOCK_MS, 'ten in each quarter of an hour')
        })
        locks += Math.floor(run.length / 10)
      }
      const last = runsOfFailures(events).at(-1) ?? []
      deepStrictEqual(path.disabledAt !== null, last.length === 50)
      if (path.disabledAt) disabled++
    }),
    { numRuns: 200 }
  )
  t.ok(locks > 200, 'the sequences reach locks')
  t.ok(disabled > 10, 'the sequences disable paths')
})

t.test('property: a right guess is not judged while the path is closed', async () => {
  fc.assert(
    fc.property(steps, fc.nat(10 * LOCK_MS), (sequence, elapsedMs) => {
      const { events, path } = play(sequence, CODE_ATTEMPTS)
      const end = (events.at(-1)?.at ?? 0) + elapsedMs
      const isClosed = path.disabledAt !== null || (path.lockedUntil?.getTime() ?? 0) > end
      const right = { kind: 'right', token: 1000, elapsedMs } as const
      const { events: withRight } = play([...sequence, right], CODE_ATTEMPTS)
      deepStrictEqual(withRight.at(-1)?.outcome, isClosed ? 'refused' : 'right')
    })
  )
})

t.test(
  'property: attemptsRemaining is the number of wrong guesses that are still judged now',
  async () => {
    const instants = fc.integer({ min: -LOCK_MS, max: LOCK_MS }).map(after)
    const paths = fc.record({
      failures: fc.nat(60),
      lockedUntil: fc.option(instants),
      disabledAt: fc.option(instants, { freq: 10 })
    })
    const anyLimits = fc.record({
      perStepToken: fc.integer({ min: 1, max: 8 }),
      beforeLock: fc.integer({ min: 1, max: 12 }),
      lockSeconds: fc.integer({ min: 1, max: 3600 }),
      beforeDisabled: fc.option(fc.integer({ min: 1, max: 60 }))
    })
    const limitsOf = fc.oneof(
      fc.constant<AttemptLimits>(CODE_ATTEMPTS),
      fc.constant(RECOVERY_ATTEMPTS),
      anyLimits
    )
    fc.assert(
      fc.property(paths, fc.option(fc.nat(9)), limitsOf, (path, stepTokenAttempts, limits) => {
        let judged = 0
        let state: PathState = path
        const input = () => ({
          path: state,
          stepTokenAttempts: stepTokenAttempts === null ? null : stepTokenAttempts + judged,
          limits,
          now: NOON
        })
        const remaining = attemptsRemaining(input())
        while (admitAttempt(input()).admitted) {
          state = afterFailure(state, limits, NOON)
          judged++
          deepStrictEqual(attemptsRemaining(input()), remaining - judged)
        }
        deepStrictEqual(remaining, judged)
      }),
      { numRuns: 2000 }
    )
  }
)
