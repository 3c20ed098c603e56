// B13 under load: concurrent requests replace a device's token only once, and no device stays trusted after a
// revocation.
import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { type EnrolledUser, ON_SERVER, startApp, type TestApp } from '../support/app.ts'
import type { Answer } from '../support/calls.ts'
import { verdictOf } from '../support/guesses.ts'
import { MAIL_WAITS } from '../support/records.ts'
import { atOnce, type Replicas, race } from '../support/replicas.ts'

const DAYS = 30
const ALLOWED = { trustedDevices: { allowed: true, days: DAYS } }

race(
  t,
  async (t, replicas, rounds) => {
    await replicas.first.changePolicy(await replicas.first.homeAccount(), ALLOWED)
    await t.test(
      '200: forty requests with one token get the same successor, and none is revoked',
      (t) => oneTokenAtOnce(t, replicas, rounds(5))
    )
    await t.test(
      '200: forty requests with an old token revoke the device once, and notify once',
      (t) => oldTokenAtOnce(t, replicas, rounds(2))
    )
    await t.test('200: a user keeps at most ten devices while ten of them sign in', (t) =>
      eleventhDuringSignIns(t, replicas, rounds(4))
    )
    await t.test(
      '200: a device that is remembered during a change of policy does not survive it',
      (t) => rememberedMeanwhile(t, replicas, rounds(8))
    )
    await t.test('401: a device that signs in during a reset gets a revoked token', (t) =>
      resetMeanwhile(t, replicas, rounds(16))
    )
  },
  { env: MAIL_WAITS }
)

// An instant that a race hits very rarely: the devices are deleted, and the change of policy is not committed yet.
t.test(
  '200: a code waits for a change of policy that is not committed yet',
  ON_SERVER,
  async (t) => {
    const app = await startApp(t)
    const { prisma } = app.database
    const account = await app.createAccount()
    await app.changePolicy(account, ALLOWED)
    const user = await app.enrolledUser({ account })
    const body = { code: user.nextCode(), rememberDevice: true }
    const as = await user.stepToken()
    const where = { accountId: account.id }
    const verified = await prisma.$transaction(async (transaction) => {
      await transaction.policy.updateMany({ where, data: { trustedDevicesAllowed: false } })
      await transaction.trustedDevice.deleteMany({ where })
      const pending = app.call('POST', '/v1/verify', { as, body })
      await Promise.race([pending, sleep(200)])
      // In an array, because a returned promise would be awaited here.
      return [pending]
    })
    const [answer] = await Promise.all(verified)
    t.match(answer?.json(), { status: 'authenticated', reason: 'code_verified' })
    t.equal(answer?.json().deviceToken, undefined)
    t.same(await devicesOf(app, user), [])
  }
)

async function oneTokenAtOnce(t: Test, { first, of }: Replicas, rounds: number) {
  const user = await first.enrolledUser()
  let token = await remember(first, user)
  for (let round = 0; round < rounds; round += 1) {
    const answers = await atOnce(40, (index) => signIn(of(index), user, token))
    const reasons = new Set(answers.map((answer) => answer.json().reason))
    t.same([...reasons], ['trusted_device'], 'all of them sign in')
    const successors = new Set(answers.map((answer) => answer.json().deviceToken as string))
    t.equal(successors.size, 1)
    const [successor = ''] = successors
    t.not(successor, token)
    const [device] = await devicesOf(first, user)
    t.equal(device?.generation, round + 2)
    token = successor
  }
}

async function oldTokenAtOnce(t: Test, { first, of }: Replicas, rounds: number) {
  const { prisma } = first.database
  const user = await first.enrolledUser()
  for (let round = 1; round <= rounds; round += 1) {
    const old = await remember(first, user)
    await signIn(first, user, old)
    first.clock.advance({ minutes: 2 })
    const answers = await atOnce(40, (index) => signIn(of(index), user, old))
    const statuses = new Set(answers.map((answer) => answer.json().status))
    t.same([...statuses], ['verification_required'])
    t.same(await devicesOf(first, user), [])
    const where = { userId: user.id, type: 'device.revoke' }
    t.equal(await prisma.auditEvent.count({ where }), round)
    const notified = { recipient: user.email, kind: 'device_revoked_after_reuse' }
    t.equal(await prisma.outboxMail.count({ where: notified }), round)
  }
}

async function eleventhDuringSignIns(t: Test, { first, of }: Replicas, rounds: number) {
  const user = await first.enrolledUser()
  const tokens: string[] = []
  for (let device = 0; device < 10; device += 1) tokens.push(await remember(first, user))
  for (let round = 0; round < rounds; round += 1) {
    const [newest, ...answers] = await Promise.all([
      remember(of(round), user),
      ...tokens.map((token, index) => signIn(of(index), user, token))
    ])
    t.equal((await devicesOf(first, user)).length, 10)
    const next = answers.map((answer) => answer.json().deviceToken as string | undefined)
    t.ok(
      next.slice(1).every((token) => token !== undefined),
      'no device except the oldest was removed'
    )
    tokens.splice(0, 10, ...next.slice(1).map((token) => token ?? ''), newest)
  }
}

async function rememberedMeanwhile(t: Test, { first, of }: Replicas, rounds: number) {
  const account = await first.createAccount()
  const forbid = (app: TestApp) => app.changePolicy(account, { trustedDevices: { allowed: false } })
  const user = await first.enrolledUser({ account })
  for (let round = 0; round < rounds; round += 1) {
    await first.changePolicy(account, ALLOWED)
    const stepToken = await user.stepToken()
    const body = { code: user.nextCode(), rememberDevice: true }
    const [answer] = await Promise.all([
      of(round).call('POST', '/v1/verify', { as: stepToken, body }),
      sleep(round % 6).then(() => forbid(of(round + 1)))
    ])
    t.equal(verdictOf(answer), '200', 'the code is accepted, whichever request comes first')
    t.same(await devicesOf(first, user), [])
  }
}

async function resetMeanwhile(t: Test, { first, of }: Replicas, rounds: number) {
  const user = await first.createUser()
  for (let round = 0; round < rounds; round += 1) {
    const enrolled = await first.enrolled(user)
    const token = await remember(first, enrolled)
    const [reset, ...answers] = await Promise.all([
      sleep(round % 5).then(() =>
        of(round).call('POST', `/v1/users/${user.id}/reset`, { as: user.account.apiKey })
      ),
      ...Array.from({ length: 4 }, (_, index) =>
        sleep(index * 2).then(() => signIn(of(index), enrolled, token))
      )
    ])
    t.equal(verdictOf(reset), '200')
    t.same(await devicesOf(first, user), [])
    const trusted = answers.filter((answer) => answer.json().reason === 'trusted_device')
    for (const answer of trusted) {
      const me = await first.call('GET', '/v1/users/me', { as: answer.json().accessToken })
      t.equal(verdictOf(me), '401 invalid-credential')
    }
    first.clock.advance({ minutes: 15 })
  }
}

function signIn({ call }: TestApp, user: EnrolledUser, deviceToken: string): Promise<Answer> {
  const body = { userId: user.id, firstFactor: 'pwd', deviceToken }
  return call('POST', '/v1/login/assertion', { as: user.account.apiKey, body })
}

async function remember({ call }: TestApp, user: EnrolledUser): Promise<string> {
  const body = { code: user.nextCode(), rememberDevice: true }
  const answer = await call('POST', '/v1/verify', { as: await user.stepToken(), body })
  return answer.json().deviceToken
}

function devicesOf({ database: { prisma } }: TestApp, { id: userId }: { id: string }) {
  return prisma.trustedDevice.findMany({ where: { userId } })
}
