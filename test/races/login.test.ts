// A sign-in that is overtaken by a change of the user: it waits for the user's row while the user is disabled or the password
// is changed. It must end like one with wrong credentials, and record no success.
import t from 'tap'
import { ON_SERVER, startApp, type TestApp, type TestUser } from '../support/app.ts'
import type { Answer } from '../support/calls.ts'
import { verdictOf } from '../support/guesses.ts'
import { untilLockWaits } from '../support/lock-waits.ts'
import { actsOn } from '../support/records.ts'

const CHANGES = [
  ['disabled', { disabledAt: new Date('2030-01-01T00:00:00Z'), epoch: { increment: 1 } }],
  ['given another password', { passwordHash: 'another', epoch: { increment: 1 } }]
] as const

interface Way {
  act: string
  verdict: string
  signIn(app: TestApp, user: TestUser): Promise<Answer>
}

const WAYS: Way[] = [
  {
    act: 'sign_in.password',
    verdict: '401 invalid-credentials',
    signIn: (app, user) => app.login(user)
  },
  {
    act: 'sign_in.assert',
    verdict: '404 user-not-found',
    signIn: (app, user) =>
      app.call('POST', '/v1/login/assertion', {
        as: user.account.apiKey,
        body: { userId: user.id, firstFactor: 'pwd' }
      })
  }
]

for (const [what, data] of CHANGES) {
  for (const { act, verdict, signIn } of WAYS) {
    t.test(`${act}: a user who is ${what} meanwhile is not signed in`, ON_SERVER, async (t) => {
      const app = await startApp(t)
      const { prisma } = app.database
      const user = await app.createUser()
      const where = { accountId: user.account.id, id: user.id }
      const [pending] = await prisma.$transaction(async (transaction) => {
        await transaction.user.updateMany({ where, data })
        const sent = signIn(app, user)
        await untilLockWaits(app.database, 1, [sent])
        // In an array, because a returned promise would be awaited here.
        return [sent]
      })
      t.equal(pending && verdictOf(await pending), verdict)
      t.same(
        (await actsOn(app, user.id, act)).filter((found) => found.endsWith('succeeded')),
        []
      )
      if (act === 'sign_in.password') {
        t.same(await actsOn(app, user.id, act), [`${act} refused: invalid-credentials`])
      }
      t.equal((await prisma.user.findFirstOrThrow({ where })).lastSignInAt, null)
    })
  }
}
