import type { Test } from 'tap'
import {
  type AppSettings,
  ON_EMBEDDED,
  ON_SERVER,
  startApp,
  startTwoApps,
  type TestApp
} from './app.ts'

/** Applications that share one database and one time; `of(n)` is where the n-th request goes. */
export interface Replicas {
  first: TestApp
  of(request: number): TestApp
}

/** How often a race is run, of the rounds that it is worth on two replicas. */
export type Rounds = (onTwoReplicas: number) => number

/**
 * Runs races on two replicas with a database server between them; where there is none, with an eighth of the rounds in
 * one process on the embedded database, which is what a development start and the smallest deployment are.
 */
export function race(
  t: Test,
  run: (t: Test, replicas: Replicas, rounds: Rounds) => Promise<void>,
  settings: AppSettings = {}
): void {
  t.test('two replicas on one server', ON_SERVER, async (t) => {
    const [first, second] = await startTwoApps(t, settings)
    const of = (request: number) => (request % 2 === 0 ? first : second)
    await run(t, { first, of }, (rounds) => rounds)
  })
  t.test('one process on the embedded database', ON_EMBEDDED, async (t) => {
    const first = await startApp(t, settings)
    await run(t, { first, of: () => first }, (rounds) => Math.ceil(rounds / 8))
  })
}

/** So many calls at once, each with its number. */
export function atOnce<Result>(
  count: number,
  call: (index: number) => Promise<Result>
): Promise<Result[]> {
  return Promise.all(Array.from({ length: count }, (_, index) => call(index)))
}
