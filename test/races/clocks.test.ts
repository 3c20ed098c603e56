// A date from which two-factor is required counts by the clock of the database. A replica whose clock is behind lets no user
// sign in without two-factor after the date, and removes no last authenticator.
import t, { type Test } from 'tap'
import { ON_SERVER, OPERATOR_KEY, startApp, type TestAccount } from '../support/app.ts'
import { createClock } from '../support/clock.ts'
import { openTestDatabase, openTestReplica } from '../support/database.ts'
import { isProblem } from '../support/problems.ts'

const HOUR_SECONDS = 3600

/** Starts a replica on time and one that is behind, both on the real clock of the database. */
async function startReplicas(t: Test, behindSeconds: number) {
  const database = await openTestDatabase(t)
  const behind = (seconds: number) => ({
    ...createClock(),
    now: () => new Date(Date.now() - seconds * 1000)
  })
  const settings = { databaseClock: 'real' } as const
  const onTime = await startApp(t, { ...settings, clock: behind(0), database })
  const replica = await openTestReplica(t, database.url ?? '')
  const late = await startApp(t, { ...settings, clock: behind(behindSeconds), database: replica })
  return { onTime, late }
}

const ago = (seconds: number) => new Date(Date.now() - seconds * 1000).toISOString()
const days = (count: number) => count * 24 * HOUR_SECONDS

for (const behindSeconds of [5, 2 * HOUR_SECONDS]) {
  t.test(`a replica whose clock is ${behindSeconds} s behind`, ON_SERVER, async (t) => {
    const { onTime, late } = await startReplicas(t, behindSeconds)
    const reached = ago(1)
    const mandate = ({ id }: TestAccount) =>
      onTime.call('PUT', `/v1/accounts/${id}/mandate`, {
        as: OPERATOR_KEY,
        body: { requiredFrom: reached }
      })
    const policy = (body: object) => (account: TestAccount) => onTime.changePolicy(account, body)
    const demands = [
      ['a date of the policy', policy({ twoFactor: 'required', requiredFrom: reached })],
      [
        'the end of a grace period',
        policy({ twoFactor: 'required', requiredFrom: ago(days(3) + 1), graceDays: 3 })
      ],
      ['a mandate', mandate]
    ] as const
    for (const [title, demand] of demands) {
      await t.test(`200, 409: ${title} counts`, async (t) => {
        const account = await onTime.createAccount()
        const user = await onTime.createUser({ account })
        const enrolled = await onTime.enrolledUser({ account })
        const as = await onTime.verify(
          await onTime.assertedToken(enrolled),
          onTime.codeAt(enrolled.secret, new Date())
        )
        await demand(account)
        for (const app of [late, onTime]) {
          t.equal((await app.login(user)).json().status, 'enrollment_required')
        }
        const { accessToken } = as.json()
        const off = await late.call('DELETE', '/v1/users/me/two-factor', { as: accessToken })
        isProblem(t, off, 409, 'policy-requires-authenticator')
        const path = `/v1/users/me/authenticators/${enrolled.authenticatorId}`
        const removed = await late.call('DELETE', path, { as: accessToken })
        isProblem(t, removed, 409, 'policy-requires-authenticator')
      })
    }
    await t.test('200: a date that is not reached does not count', async (t) => {
      const account = await onTime.createAccount()
      const user = await onTime.createUser({ account })
      await policy({ twoFactor: 'required', requiredFrom: ago(-days(1)) })(account)
      for (const app of [late, onTime]) {
        t.match((await app.login(user)).json(), {
          status: 'authenticated',
          reason: 'not_required',
          enrollment: { requiredFrom: String }
        })
      }
    })
  })
}
