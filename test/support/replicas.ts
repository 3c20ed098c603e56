import type { Test } from 'tap'
import {
  type AppSettings,
  ON_EMBEDDED,
  ON_SERVER,
  startApp,
  startTwoApps,
  type TestApp
} from './app.ts'

/** Applications that share one database and one clock. The n-th request goes to `of(n)`. */
export interface Replicas {
  first: TestApp
  of(request: number): TestApp
}

/** Returns the number of rounds to run, of the full number on two replicas. */
export type Rounds = (full: number) => number

/** `npm run test:all` runs all rounds, and `npm test` a quarter of them. */
const SHARE = process.env['TEST_ROUNDS'] === 'all' ? 1 : 1 / 4

/**
 * Runs races on two replicas with a database server between them. Without a server, it runs half as many rounds in one
 * process on the embedded database, as in development and in the smallest deployment.
 */
export function race(
  t: Test,
  run: (t: Test, replicas: Replicas, rounds: Rounds) => Promise<void>,
  settings: AppSettings = {}
): void {
  t.test('two replicas on one server', ON_SERVER, async (t) => {
    const [first, second] = await startTwoApps(t, settings)
    const of = (request: number) => (request % 2 === 0 ? first : second)
    await run(t, { first, of }, (full) => Math.ceil(full * SHARE))
  })
  t.test('one process on the embedded database', ON_EMBEDDED, async (t) => {
    const first = await startApp(t, settings)
    await run(t, { first, of: () => first }, (full) => Math.ceil((full * SHARE) / 2))
  })
}

/** Makes `count` calls at the same time, each with its number. */
export function atOnce<Result>(
  count: number,
  call: (index: number) => Promise<Result>
): Promise<Result[]> {
  return Promise.all(Array.from({ length: count }, (_, index) => call(index)))
}
