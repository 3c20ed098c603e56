// A sign-in by password that is overtaken by a change of the user: it waits for its hash, or for the user's row, while the
// user is disabled or the password is changed. It must end like a wrong password, and record no success.
import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { ON_SERVER, startApp } from '../support/app.ts'
import { verdictOf } from '../support/guesses.ts'
import { actsOn } from '../support/records.ts'

const CHANGES = [
  ['disabled', { disabledAt: new Date('2030-01-01T00:00:00Z'), epoch: { increment: 1 } }],
  ['given another password', { passwordHash: 'another', epoch: { increment: 1 } }]
] as const

for (const [what, data] of CHANGES) {
  t.test(`401: a user who is ${what} during the sign-in is not signed in`, ON_SERVER, async (t) => {
    const app = await startApp(t)
    const { prisma } = app.database
    const user = await app.createUser()
    const asserted = { as: user.account.apiKey, body: { userId: user.id, firstFactor: 'pwd' } }
    const pending = await prisma.$transaction(async (transaction) => {
      const where = { accountId: user.account.id, id: user.id }
      await transaction.user.updateMany({ where, data })
      const signIns = [app.login(user), app.call('POST', '/v1/login/assertion', asserted)]
      while ((await waiting()) < signIns.length) await sleep(5)
      // In an array, because a returned promise would be awaited here.
      return signIns
    })
    const [byPassword, byAssertion] = await Promise.all(pending)
    t.equal(byPassword && verdictOf(byPassword), '401 invalid-credentials')
    t.equal(byAssertion && verdictOf(byAssertion), '404 user-not-found')
    t.same(await actsOn(app, user.id, 'sign_in.password'), [
      'sign_in.password refused: invalid-credentials'
    ])
    t.same(
      (await actsOn(app, user.id, 'sign_in.assert')).filter((act) => act.endsWith('succeeded')),
      []
    )
    const row = await prisma.user.findFirstOrThrow({ where: { id: user.id } })
    t.equal(row.lastSignInAt, null)

    async function waiting(): Promise<number> {
      const [found] = await prisma.$queryRaw<{ count: number }[]>`
        SELECT count(*)::int FROM pg_stat_activity
        WHERE datname = current_database() AND wait_event_type = 'Lock'`
      return found?.count ?? 0
    }
  })
}
