// B8: all other callers who try a reset get "Limited access". Nothing changes, and the attempt is audited.
import t from 'tap'
import { startApp } from '../support/app.ts'
import { isProblem } from '../support/problems.ts'

const { call, createAccount, enrolledUser, login, verify } = await startApp(t, { listen: true })

t.test('403: a member cannot reset a colleague, an admin or themselves', async (t) => {
  const account = await createAccount()
  const [admin, member, colleague] = [
    await enrolledUser({ account, role: 'admin' }),
    await enrolledUser({ account }),
    await enrolledUser({ account })
  ]
  const as = await member.accessToken()
  const targets = [colleague, admin, member]
  for (const { id } of targets) {
    const body = { reason: 'She asked me to' }
    const answer = await call('POST', `/v1/users/${id}/reset`, { as, body })
    t.match(isProblem(t, answer, 403, 'limited-access'), { title: 'Limited access' })
  }
  for (const target of targets) {
    const { stepToken } = (await login(target)).json()
    t.equal((await verify(stepToken, target.nextCode())).statusCode, 200, 'nothing has changed')
  }
  t.equal((await call('GET', '/v1/users/me', { as })).statusCode, 200)

  const asAdmin = await admin.accessToken()
  const trail = await call('GET', '/v1/audit-events?type=user.reset', { as: asAdmin })
  t.match(
    trail.json().items,
    targets.toReversed().map(({ id }) => ({
      outcome: 'refused',
      reason: 'limited-access',
      actor: { kind: 'user', id: member.id, credential: 'access_token' },
      target: { kind: 'user', id },
      address: '127.0.0.1'
    }))
  )
  t.equal(trail.json().items.length, 3)
  for (const { id } of [member, colleague]) {
    const mine = await call('GET', `/v1/audit-events?type=user.reset&userId=${id}`, { as: asAdmin })
    t.ok(mine.json().items.length >= 1, 'found by its actor and by its target')
  }
  isProblem(t, await call('GET', '/v1/audit-events', { as }), 403, 'limited-access')
})

t.test('404: an admin of another account does not find the user', async (t) => {
  const [theirs, ours] = [await createAccount(), await createAccount()]
  const [stranger, admin] = [
    await enrolledUser({ account: theirs, role: 'admin' }),
    await enrolledUser({ account: ours, role: 'admin' })
  ]
  const answer = await call('POST', `/v1/users/${stranger.id}/reset`, {
    as: await admin.accessToken()
  })
  isProblem(t, answer, 404, 'user-not-found')
  const { stepToken } = (await login(stranger)).json()
  t.equal((await verify(stepToken, stranger.nextCode())).statusCode, 200)
  const trail = await call('GET', '/v1/audit-events?type=user.reset', { as: ours.apiKey })
  t.match(trail.json().items, [{ outcome: 'refused', reason: 'user-not-found' }])
  const unseen = await call('GET', '/v1/audit-events?type=user.reset', { as: theirs.apiKey })
  t.same(unseen.json().items, [], 'the account of the user has no event')
})
