// Users and admins list and revoke trusted devices. The tests check the response and the audit event of every act.
import t from 'tap'
import { UNKNOWN } from '../../support/app.ts'
import { isProblem, tellTales } from '../../support/problems.ts'
import { idsOf, startWithFactors } from './factors.ts'

const service = await startWithFactors(t)
const { assertedToken, clock, createAccount, createUser, enrolledUser } = service
const { isDone, isRefused, list, listDevices, now, prisma, revoke, stateOf, trust } = service

t.test('trusted devices', async (t) => {
  t.test('200: users and admins list the valid devices, newest first', async (t) => {
    const [user, other] = [await createUser(), await createUser()]
    const admin = await createUser({ role: 'admin' })
    t.same((await listDevices(await assertedToken(user))).json(), { items: [] })
    await trust(user, { days: 1 })
    const older = await trust(user, { days: 30 })
    await trust(other, { days: 30 })
    clock.advance({ minutes: 24 * 60 })
    const newer = await trust(user, { days: 30 })
    const lastUsedAt = now()
    await prisma.trustedDevice.updateMany({ where: { id: older.id }, data: { lastUsedAt } })
    const as = await assertedToken(user)
    const answer = await listDevices(as)
    t.same(answer.json(), {
      items: [
        { ...newer, lastUsedAt: null },
        { ...older, lastUsedAt: lastUsedAt.toISOString() }
      ]
    })
    t.equal((await listDevices(as, user.id)).body, answer.body)
    t.equal((await listDevices(await assertedToken(admin), user.id)).body, answer.body)
  })

  t.test('204: a device is revoked, and tokens stay valid', async (t) => {
    const [user, admin] = [await createUser(), await createUser({ role: 'admin' })]
    const as = await assertedToken(user)
    for (const [actor, userId, token] of [
      [user, 'me', as],
      [user, user.id, as],
      [admin, user.id, await assertedToken(admin)]
    ] as const) {
      const [kept, lost] = [await trust(user, { days: 30 }), await trust(user, { days: 30 })]
      const event = {
        type: 'device.revoke',
        actorId: actor.id,
        targetKind: 'device',
        targetId: lost.id
      }
      const act = () => revoke(token, lost.id, userId)
      await isDone(t, user, act, { status: 204, event, mail: null })
      t.ok(idsOf(await listDevices(as)).includes(kept.id))
      t.notOk(idsOf(await listDevices(as)).includes(lost.id))
      await isRefused(t, user, act, [404, 'device-not-found'], event)
    }
  })

  t.test('404: another user’s, an unknown and an expired device are not found', async (t) => {
    const [user, other] = [await createUser(), await createUser()]
    const expired = await trust(user, { days: 0 })
    const theirs = await trust(other, { days: 30 })
    const as = await assertedToken(user)
    for (const id of [UNKNOWN, theirs.id, expired.id]) {
      await isRefused(t, user, () => revoke(as, id), [404, 'device-not-found'])
    }
    t.equal((await stateOf(other)).devices.length, 1)
    const act = () => revoke(as, theirs.id, other.id)
    await isRefused(t, other, act, [403, 'limited-access'], { userId: other.id })
  })
})

t.test(
  "404: another account's user and an unknown id get the same response except requestId",
  async (t) => {
    const admin = await createUser({ role: 'admin' })
    const foreigner = await enrolledUser({ account: await createAccount() })
    const device = await trust(foreigner, { days: 30 })
    const as = await assertedToken(admin)
    for (const act of [
      (userId: string) => list(as, userId),
      (userId: string) => listDevices(as, userId),
      (userId: string) => revoke(as, device.id, userId)
    ]) {
      const refused = await act(foreigner.id)
      isProblem(t, refused, 404, 'user-not-found')
      t.same(tellTales(await act(UNKNOWN)), tellTales(refused))
    }
    t.equal((await stateOf(foreigner)).devices.length, 1)
    isProblem(t, await list(as, foreigner.id.toUpperCase()), 404, 'user-not-found')
  }
)
