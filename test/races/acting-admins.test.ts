// An admin who loses the role or the token while a request waits does not act. The write judges both under the lock.
import t, { type Test } from 'tap'
import type { Prisma } from '../../src/generated/prisma/client.ts'
import { ON_SERVER, startApp, type TestApp } from '../support/app.ts'
import { verdictOf } from '../support/guesses.ts'
import { untilLockWaits } from '../support/lock-waits.ts'

/** The acts of admins on a user, by the end of the path, and on their account. */
const ACTS = [
  ['PUT', '/two-factor', { required: true }],
  ['POST', '/sign-out', {}],
  ['POST', '/reset', {}],
  ['PATCH', '', { role: 'admin' }],
  ['PATCH', '', { disabled: true }],
  ['DELETE', '', undefined],
  ['DELETE', '/sso-identities/018f4e3c-0000-7000-8000-000000000001', undefined],
  ['PATCH', null, { twoFactor: 'required' }]
] as const

/** Sends each act of an admin while this change of the admin is not committed yet. Returns the verdicts. */
async function verdictsDuring(app: TestApp, change: Prisma.UserUpdateManyMutationInput) {
  const account = await app.createAccount()
  const target = await app.enrolledUser({ account })
  const before = await rowOf(app, target.id)
  const verdicts: string[] = []
  for (const [method, act, body] of ACTS) {
    const admin = await app.enrolledUser({ account, role: 'admin' })
    const as = await admin.accessToken()
    const sent = await app.database.prisma.$transaction(async (transaction) => {
      const where = { accountId: account.id, id: admin.id }
      await transaction.user.updateMany({ where, data: change })
      const path = act === null ? '/v1/policy' : `/v1/users/${target.id}${act}`
      const headers = act === null ? { 'if-match': '*' } : {}
      const pending = app.call(method, path, { as, headers, ...(body && { body }) })
      await untilLockWaits(app.database, 1, [pending])
      // In an array, because a returned promise would be awaited here.
      return [pending]
    })
    for (const answer of await Promise.all(sent)) {
      verdicts.push(`${method} ${act}: ${verdictOf(answer)}`)
    }
  }
  return { verdicts, isUnchanged: before === (await rowOf(app, target.id)) }
}

async function rowOf({ database }: TestApp, id: string): Promise<string> {
  const row = await database.prisma.user.findFirstOrThrow({ where: { id } })
  return JSON.stringify(row)
}

async function allRefused(
  t: Test,
  change: Prisma.UserUpdateManyMutationInput,
  verdict: string
): Promise<void> {
  const { verdicts, isUnchanged } = await verdictsDuring(await startApp(t), change)
  t.same(
    verdicts,
    ACTS.map(([method, act]) => `${method} ${act}: ${verdict}`)
  )
  t.ok(isUnchanged, 'nothing has changed')
}

t.test('403: an admin who is demoted meanwhile does not act', ON_SERVER, (t) =>
  allRefused(t, { role: 'member' }, '403 limited-access')
)

t.test('401: an admin whose tokens are revoked meanwhile does not act', ON_SERVER, (t) =>
  allRefused(t, { epoch: { increment: 1 } }, '401 invalid-credential')
)

t.test('401: an admin who is disabled meanwhile does not act', ON_SERVER, (t) =>
  allRefused(t, { disabledAt: new Date() }, '401 invalid-credential')
)

t.test(
  'two admins who demote each other at the same time, although a third is left',
  ON_SERVER,
  async (t) => {
    const app = await startApp(t)
    for (let round = 0; round < 5; round += 1) {
      const account = await app.createAccount()
      const admins = [
        await app.enrolledUser({ account, role: 'admin' }),
        await app.enrolledUser({ account, role: 'admin' })
      ]
      await app.createUser({ account, role: 'admin' })
      const tokens = await Promise.all(admins.map((admin) => admin.accessToken()))
      const answers = await Promise.all(
        admins.toReversed().map(({ id }, index) =>
          app.call('PATCH', `/v1/users/${id}`, {
            as: tokens[index] ?? '',
            body: { role: 'member' }
          })
        )
      )
      t.same(answers.map(verdictOf).sort(), ['200', '403 limited-access'])
    }
  }
)

t.test(
  '204: two admins who act on each other at the same time do not deadlock',
  ON_SERVER,
  async (t) => {
    const app = await startApp(t)
    const account = await app.createAccount()
    const [one, other] = [
      await app.enrolledUser({ account, role: 'admin' }),
      await app.enrolledUser({ account, role: 'admin' })
    ]
    for (let round = 0; round < 5; round += 1) {
      const tokens = [await one.accessToken(), await other.accessToken()]
      const answers = await Promise.all(
        [other, one].map(({ id }, index) =>
          app.call('POST', `/v1/users/${id}/sign-out`, { as: tokens[index] ?? '' })
        )
      )
      // The first one revokes the token of the second.
      t.same(answers.map(verdictOf).sort(), ['204', '401 invalid-credential'])
    }
  }
)

t.test(
  '409: a removal that waits for a requirement does not remove the last app',
  ON_SERVER,
  async (t) => {
    const app = await startApp(t)
    const user = await app.enrolledUser()
    const as = await user.accessToken()
    const sent = await app.database.prisma.$transaction(async (transaction) => {
      const where = { accountId: user.account.id, id: user.id }
      const data = { requiredBy: 'admin', requiredSince: app.clock.now() } as const
      await transaction.user.updateMany({ where, data })
      const pending = app.call('DELETE', '/v1/users/me/two-factor', { as })
      await untilLockWaits(app.database, 1, [pending])
      return [pending]
    })
    const [answer] = await Promise.all(sent)
    t.equal(answer && verdictOf(answer), '409 policy-requires-authenticator')
  }
)
