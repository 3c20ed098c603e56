// Requests of users and accounts take turns: a user whose row is locked, and an account with much work, slow down only
// themselves. A lock stands for slow work, because a test can hold it for as long as it needs.
import { once } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { sharesOf } from '../../src/core/fairness/shares.ts'
import { ON_SERVER, PASSWORD, startApp, type TestApp, type TestUser } from '../support/app.ts'
import type { Answer } from '../support/calls.ts'
import { openTestReplica } from '../support/database.ts'
import { tally, wrongCode } from '../support/guesses.ts'
import { lockWaits, untilLockWaits } from '../support/lock-waits.ts'
import { isProblem } from '../support/problems.ts'
import { atOnce } from '../support/replicas.ts'

const SHARES = sharesOf(null)
const PER_USER = SHARES.users.slotsPerKey
const PER_ACCOUNT = SHARES.accounts.slotsPerKey
/** Work that waits for a lock stalls after this time, and all other work of these tests has no other work of its user to wait for. */
const STALLED_MS = 50
const STALLS = { timeouts: { stalledMs: STALLED_MS } }

type Lock = { users?: string[]; account?: string }

/** Runs the work while another transaction, on a connection of its own, holds the rows. */
async function whileLocked(t: Test, app: TestApp, lock: Lock, work: () => Promise<void>) {
  const { url = '' } = app.database as { url?: string }
  const { prisma } = await openTestReplica(t, url)
  await prisma.$transaction(async (transaction) => {
    for (const id of lock.users ?? []) {
      await transaction.$queryRaw`SELECT 1 AS locked FROM "User" WHERE id = ${id}::uuid FOR UPDATE`
    }
    if (lock.account !== undefined) {
      await transaction.$queryRaw`SELECT 1 AS locked FROM "Account" WHERE id = ${lock.account}::uuid FOR NO KEY UPDATE`
    }
    await work()
  })
}

/** Resolves when the work for a locked user has stalled. */
async function untilStalled({ database }: TestApp): Promise<void> {
  await untilLockWaits(database, PER_USER)
  await sleep(2 * STALLED_MS)
}

function othersSucceed(t: Test, answers: Answer[]): void {
  t.same(tally(answers), { 200: answers.length }, 'others are not affected')
}

interface Way {
  name: string
  send(app: TestApp, user: TestUser): Promise<() => Promise<Answer>>
}

/** The ways to a user's row: each acts on the user in the handler. */
const WAYS: Way[] = [
  {
    name: 'guesses at codes',
    send: async (app, user) => {
      const as = await app.assertedToken(user)
      return () => app.verify(as, '000000')
    }
  },
  {
    name: 'changes by the back end',
    send: async ({ call }, { account, id }) => {
      const [as, body] = [account.apiKey, { externalId: 'x' }]
      return () => call('PATCH', `/v1/users/${id.toUpperCase()}`, { as, body })
    }
  },
  {
    name: 'right passwords',
    send: async ({ login }, user) => {
      return () => login(user)
    }
  },
  {
    name: 'assertions by id',
    send: async ({ call }, { account, id: userId }) => {
      const [as, body] = [account.apiKey, { userId, firstFactor: 'pwd' }]
      return () => call('POST', '/v1/login/assertion', { as, body })
    }
  },
  {
    name: 'assertions by address',
    send: async ({ call }, { account, email }) => {
      const [as, body] = [account.apiKey, { email: email.toUpperCase(), firstFactor: 'pwd' }]
      return () => call('POST', '/v1/login/assertion', { as, body })
    }
  }
]

for (const { name, send } of WAYS) {
  t.test(`503: ${name}: a locked user keeps one connection`, ON_SERVER, async (t) => {
    const app = await startApp(t, STALLS)
    const account = await app.createAccount()
    // Without an authenticator, the password and the assertion end the sign-in, which writes to the user's row.
    const isCode = name === 'guesses at codes'
    const user = await (isCode ? app.enrolledUser({ account }) : app.createUser({ account }))
    const [neighbour, stranger] = [await app.createUser({ account }), await app.enrolledUser()]
    const act = await send(app, user)
    let first: Promise<Answer[]> = Promise.resolve([])
    await whileLocked(t, app, { users: [user.id] }, async () => {
      first = atOnce(PER_USER, act)
      await untilStalled(app)
      const late = await Promise.race([atOnce(20, act), sleep(60_000, [], { ref: false })])
      t.same(tally(late), { '503 unavailable': 20 }, 'the rest is rejected while the row is locked')
      for (const answer of late.slice(0, 1)) isProblem(t, answer, 503, 'unavailable')
      t.equal(await lockWaits(app.database), PER_USER, 'connections that wait')
      othersSucceed(t, [
        await app.login(neighbour),
        await app.login(stranger),
        await app.call('GET', `/v1/users/${user.id}`, { as: account.apiKey }),
        await app.verify(await stranger.stepToken(), stranger.nextCode())
      ])
    })
    t.notOk(tally(await first)['503 unavailable'], 'the first ones succeed after the lock')
  })
}

t.test('503: an admin and the user on whom they act both count', ON_SERVER, async (t) => {
  const app = await startApp(t, STALLS)
  const account = await app.createAccount()
  const admin = await app.enrolledUser({ account, role: 'admin' })
  const as = await admin.accessToken()
  const users = await atOnce(PER_USER + 1, () => app.createUser({ account }))
  const signOut = ({ id }: TestUser) => app.call('POST', `/v1/users/${id}/sign-out`, { as })
  let first: Promise<Answer[]> = Promise.resolve([])
  await whileLocked(t, app, { users: [admin.id] }, async () => {
    first = Promise.all(users.slice(1).map(signOut))
    await untilStalled(app)
    for (const user of users.slice(0, 1)) isProblem(t, await signOut(user), 503, 'unavailable')
  })
  t.same(tally(await first), { 204: PER_USER })
})

t.test(
  'an account has at most a quarter of the connections, and the rest waits',
  ON_SERVER,
  async (t) => {
    const app = await startApp(t)
    const account = await app.createAccount()
    const users = await atOnce(4 * PER_ACCOUNT, () => app.createUser({ account }))
    const stranger = await app.enrolledUser()
    const patch = ({ id }: TestUser) =>
      app.call('PATCH', `/v1/users/${id}`, { as: account.apiKey, body: { externalId: `x-${id}` } })
    let all: Promise<Answer[]> = Promise.resolve([])
    await whileLocked(t, app, { users: users.map(({ id }) => id) }, async () => {
      all = Promise.all(users.map(patch))
      await untilLockWaits(app.database, PER_ACCOUNT)
      // More would come now, if more could.
      await sleep(200)
      t.equal(await lockWaits(app.database), PER_ACCOUNT)
      othersSucceed(t, [
        await app.login(stranger),
        await app.verify(await stranger.stepToken(), stranger.nextCode()),
        await app.call('GET', '/v1/users', { as: stranger.account.apiKey })
      ])
    })
    othersSucceed(t, await all)
  }
)

t.test('users with passwords that one account creates delay no sign-in of others', async (t) => {
  const app = await startApp(t)
  const flooder = await app.createAccount()
  const users = [await app.createUser(), await app.createUser()]
  let isOver = false
  const flood = atOnce(40, async (connection) => {
    const answers: Answer[] = []
    for (let made = 0; !isOver; made += 1) {
      const body = { email: `user-${connection}-${made}@example.com`, password: PASSWORD }
      answers.push(await app.call('POST', '/v1/users', { as: flooder.apiKey, body }))
    }
    return answers
  })
  const others: Answer[] = []
  for (let round = 0; round < 5; round += 1) {
    for (const user of users) others.push(await app.login(user))
  }
  isOver = true
  othersSucceed(t, others)
  const made = (await flood).flat()
  t.same(tally(made), { 201: made.length }, 'the flood itself takes its turn')
})

t.test('200: one user may do a hundred things at the same time', async (t) => {
  const app = await startApp(t)
  const user = await app.createUser()
  const answers = await atOnce(SHARES.users.waitingPerKeyMax, (index) =>
    app.call('PATCH', `/v1/users/${user.id}`, {
      as: user.account.apiKey,
      body: { externalId: `x-${index}` }
    })
  )
  othersSucceed(t, answers)
})

t.test('a guess of a caller who hangs up before its turn is not judged', ON_SERVER, async (t) => {
  const app = await startApp(t, { listen: true })
  const user = await app.enrolledUser()
  const as = await user.stepToken()
  const code = wrongCode(user, app.clock.now())
  let first: Promise<Answer[]> = Promise.resolve([])
  await whileLocked(t, app, { users: [user.id] }, async () => {
    first = atOnce(PER_USER, () => app.verify(as, code))
    await untilLockWaits(app.database, PER_USER)
    const hangUp = new AbortController()
    const headers = { authorization: `Bearer ${as}`, 'content-type': 'application/json' }
    const [body, signal] = [JSON.stringify({ code }), hangUp.signal]
    const arrived = once(app.app.server, 'request')
    const waiting = fetch(`${app.url}/v1/verify`, { method: 'POST', headers, body, signal })
    await arrived
    // In the queue after its checks, which need the database a few times.
    await sleep(200)
    hangUp.abort()
    await t.rejects(waiting)
  })
  const [judged] = await first
  t.equal(judged?.json().attemptsRemaining, 4)
  t.equal((await app.verify(as, code)).json().attemptsRemaining, 3)
})

t.test('a locked account row delays no change of a member', ON_SERVER, async (t) => {
  const app = await startApp(t)
  const account = await app.createAccount()
  const [member, other] = [await app.createUser({ account }), await app.createUser({ account })]
  const admin = await app.createUser({ account, role: 'admin' })
  await app.createUser({ account, role: 'admin' })
  const path = ({ id }: TestUser) => `/v1/users/${id}`
  const as = account.apiKey
  let demoted: Promise<Answer> | undefined
  await whileLocked(t, app, { account: account.id }, async () => {
    demoted = app.call('PATCH', path(admin), { as, body: { role: 'member' } })
    const disabled = app.call('PATCH', path(member), { as, body: { disabled: true } })
    const removed = app.call('DELETE', path(other), { as })
    const answers = await Promise.race([
      Promise.all([disabled, removed]),
      sleep(60_000, [], { ref: false })
    ])
    t.same(tally(answers), { 200: 1, 204: 1 })
    await untilLockWaits(app.database, 1, [demoted])
  })
  t.equal((await demoted)?.statusCode, 200)
})
