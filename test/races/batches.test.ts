// One statement records the right codes of concurrent requests. Each code still wins or loses by itself, and no request
// waits for another user's row.
import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { type EnrolledUser, ON_SERVER, startApp, startTwoApps } from '../support/app.ts'
import { tally, verdictOf } from '../support/guesses.ts'
import { atOnce } from '../support/replicas.ts'

const USERS = 20

t.test('200: a locked user delays no other user', ON_SERVER, async (t) => {
  const { assertedToken, clock, database, enrolledUser, verify } = await startApp(t)
  const users = await manyOf(enrolledUser, 4)
  clock.advance({ minutes: 5 })
  const tokens = await Promise.all(users.map(assertedToken))
  const codes = users.map((user) => user.codeAt(clock.now()))
  const [held, ...others] = users
  let isDone = false
  const pending = await database.prisma.$transaction(async (transaction) => {
    await transaction.$queryRaw`SELECT 1 AS locked FROM "User" WHERE id = ${held?.id}::uuid FOR UPDATE`
    const answers = users.map((_, index) => verify(tokens[index] ?? '', codes[index] ?? ''))
    void answers[0]?.then(() => {
      isDone = true
    })
    t.same(tally(await Promise.all(answers.slice(1))), { 200: others.length })
    await sleep(50)
    t.notOk(isDone, 'the locked user waits')
    // In an array, because a returned promise would be awaited here.
    return [answers[0]]
  })
  const [answer] = await Promise.all(pending)
  t.equal(answer && verdictOf(answer), '200', 'and is served afterwards')
})

t.test(
  '200: each user signs in once, although two replicas batch the users in opposite orders',
  ON_SERVER,
  async (t) => {
    const [first, second] = await startTwoApps(t)
    const users = await manyOf(first.enrolledUser, USERS)
    for (let round = 0; round < 10; round += 1) {
      first.clock.advance({ minutes: 15 })
      const guesses = await Promise.all(
        [first, second].map((replica) =>
          Promise.all(
            users.map(async (user) => ({
              replica,
              token: await replica.assertedToken(user),
              code: user.codeAt(first.clock.now())
            }))
          )
        )
      )
      const [there = [], back = []] = guesses
      const answers = await Promise.all(
        [...there, ...back.toReversed()].map(({ replica, token, code }) =>
          replica.verify(token, code)
        )
      )
      t.same(tally(answers), { '200': USERS, '422 code-rejected': USERS })
    }
  }
)

t.test('422: a batch accepts a code only once, and audits both attempts', async (t) => {
  const { assertedToken, clock, database, enrolledUser, verify } = await startApp(t)
  const user = await enrolledUser()
  clock.advance({ minutes: 5 })
  const tokens = await atOnce(2, () => assertedToken(user))
  const code = user.codeAt(clock.now())
  const since = { userId: user.id, type: 'sign_in.code' }
  const before = await database.prisma.auditEvent.count({ where: since })
  const answers = await Promise.all(tokens.map((token) => verify(token, code)))
  t.same(tally(answers), { '200': 1, '422 code-rejected': 1 })
  t.equal((await database.prisma.auditEvent.count({ where: since })) - before, 2)
})

async function manyOf(make: () => Promise<EnrolledUser>, count: number): Promise<EnrolledUser[]> {
  const users: EnrolledUser[] = []
  while (users.length < count) users.push(await make())
  return users
}
