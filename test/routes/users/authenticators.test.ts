// B4: users manage their own authenticators. The tests check the response, the audit event and the mail of every act.
import t from 'tap'
import { UNKNOWN } from '../../support/app.ts'
import { verdictOf } from '../../support/guesses.ts'
import { isProblem, pointersOf, tellTales } from '../../support/problems.ts'
import { idsOf, raisedFrom, startWithFactors } from './factors.ts'

const service = await startWithFactors(t)
const { assertedToken, changePolicy, clock, codeAt, confirm, createAccount, createUser } = service
const { enroll, enrolledUser, recover, verify } = service
const { add, isAccepted, isDone, isOff, isRefused, list, now, prisma, remove, rename } = service
const { revoke, stateOf, trust, userWithTwo } = service

t.test('GET /v1/users/{userId}/authenticators', async (t) => {
  t.test(
    '200: the list has the active authenticators, and a pending one until it expires',
    async (t) => {
      const user = await createUser()
      t.same((await list(await assertedToken(user))).json(), { items: [] })
      const startedAt = now().toISOString()
      const first = (await enroll(await assertedToken(user))).json()
      clock.advance({ seconds: 20 })
      const confirmedAt = now().toISOString()
      const token = await assertedToken(user)
      await confirm(token, first.authenticatorId, codeAt(first.setupKey, now()))
      clock.advance({ seconds: 30 })
      const code = codeAt(first.setupKey, now())
      const as = (await verify(await assertedToken(user), code)).json().accessToken
      const pending = (await enroll(as, { name: 'Tablet' })).json()
      const answer = await list(as)
      t.equal(answer.statusCode, 200)
      t.same(answer.json(), {
        items: [
          {
            id: first.authenticatorId,
            name: 'Authenticator',
            state: 'active',
            createdAt: startedAt,
            confirmedAt,
            lastUsedAt: now().toISOString()
          },
          {
            id: pending.authenticatorId,
            name: 'Tablet',
            state: 'pending',
            createdAt: now().toISOString(),
            confirmedAt: null,
            lastUsedAt: null
          }
        ]
      })
      clock.advance({ minutes: 10 })
      t.same(idsOf(await list(as)), [first.authenticatorId])
    }
  )

  t.test('200: users list their own authenticators, an admin those of every user', async (t) => {
    const { user, as } = await userWithTwo()
    const admin = await createUser({ role: 'admin' })
    const asMe = await list(as)
    t.equal(asMe.json().items.length, 2)
    t.equal((await list(as, user.id)).body, asMe.body)
    // An admin needs only a password: reading requires no second factor.
    t.equal((await list(await assertedToken(admin), user.id)).body, asMe.body)
  })

  t.test('403: other users are refused, whether or not the user exists', async (t) => {
    const [member, other] = [await createUser(), await enrolledUser()]
    const as = await assertedToken(member)
    const event = { type: 'authenticator.read', actorId: member.id, userId: other.id }
    await isRefused(t, member, () => list(as, other.id), [403, 'limited-access'], event)
    t.same(tellTales(await list(as, UNKNOWN)), tellTales(await list(as, other.id)))
  })
})

t.test('PATCH …/authenticators/{authenticatorId}', async (t) => {
  t.test('200: a rename returns the authenticator, and tokens stay valid', async (t) => {
    const user = await enrolledUser()
    const as = await user.accessToken()
    const stepToken = await user.stepToken()
    const id = user.authenticatorId
    const type = 'authenticator.rename'
    const event = { type, targetId: id, actorId: user.id, details: { name: 'Phone' } }
    const act = () => rename(as, id, { name: 'Phone' })
    const answer = await isDone(t, user, act, { status: 200, event, mail: null })
    t.match(answer.json(), { id, name: 'Phone', state: 'active' })
    t.same((await list(as)).json().items, [answer.json()])
    t.equal(
      (await rename(as, id, { name: 'Phone' }, user.id)).statusCode,
      200,
      'its own name again'
    )
    t.equal((await verify(stepToken, user.nextCode())).statusCode, 200)
    t.ok(await isAccepted(as))
  })

  t.test('200: a renamed pending authenticator becomes active with its new name', async (t) => {
    const user = await enrolledUser()
    const as = await user.accessToken()
    const { authenticatorId, setupKey } = (await enroll(as)).json()
    const renamed = await rename(as, authenticatorId, { name: 'Tablet' })
    t.match(renamed.json(), { name: 'Tablet', state: 'pending', confirmedAt: null })
    const confirmed = await confirm(as, authenticatorId, codeAt(setupKey, now()))
    const { items } = (await list(confirmed.json().accessToken)).json()
    t.same(
      items.map(({ name }: { name: string }) => name),
      ['Authenticator', 'Tablet']
    )
  })

  t.test(
    '409: a user’s authenticators have different names, but two users may use the same',
    async (t) => {
      const { user, as } = await userWithTwo()
      const pending = (await enroll(as, { name: 'Watch' })).json()
      const event = { type: 'authenticator.rename', targetId: user.authenticatorId }
      for (const name of ['Tablet', 'Watch']) {
        const act = () => rename(as, user.authenticatorId, { name })
        await isRefused(t, user, act, [409, 'name-taken'], event)
        // Later refusals of the same act are folded for a minute.
        clock.advance({ seconds: 60 })
      }
      const act = () => rename(as, pending.authenticatorId, { name: 'Tablet' })
      await isRefused(t, user, act, [409, 'name-taken'])
      // Half a surrogate pair cannot be stored unchanged.
      const halves = { name: 'Phone \ud83d' }
      const [one, another] = (await list(as)).json().items
      t.equal((await rename(as, one.id, halves)).statusCode, 200)
      clock.advance({ seconds: 60 })
      await isRefused(t, user, () => rename(as, another.id, halves), [409, 'name-taken'])
      const other = await enrolledUser()
      const asOther = await other.accessToken()
      t.equal((await rename(asOther, other.authenticatorId, { name: 'Tablet' })).statusCode, 200)
    }
  )

  t.test('404: authenticators of other users and expired ones are not found', async (t) => {
    const [user, other] = [await enrolledUser(), await enrolledUser()]
    const expired = (await enroll(await user.accessToken())).json()
    clock.advance({ minutes: 10 })
    const as = await user.accessToken()
    const theirs = (await enroll(await other.accessToken())).json()
    for (const id of [
      UNKNOWN,
      other.authenticatorId,
      theirs.authenticatorId,
      expired.authenticatorId
    ]) {
      for (const act of [() => rename(as, id, { name: 'Tablet' }), () => remove(as, id)]) {
        await isRefused(t, user, act, [404, 'authenticator-not-found'], { targetId: id })
      }
    }
    t.same(idsOf(await list(await other.accessToken())), [
      other.authenticatorId,
      theirs.authenticatorId
    ])
  })

  t.test('400: invalid names and ids are rejected', async (t) => {
    const user = await enrolledUser()
    const as = await user.accessToken()
    const id = user.authenticatorId
    for (const [path, body, pointer] of [
      [id, {}, '/name'],
      [id, { name: '' }, '/name'],
      [id, { name: 'x'.repeat(51) }, '/name'],
      [id, { name: 'a\u0000b' }, '/name'],
      [id, { name: 1 }, '/name'],
      [id, { name: 'Phone', state: 'active' }, '/state'],
      ['me', { name: 'Phone' }, '/authenticatorId']
    ] as const) {
      const document = isProblem(t, await rename(as, path, body), 400, 'invalid-request')
      t.ok(pointersOf(document).includes(pointer), pointer)
    }
    isProblem(t, await remove(as, `${id}0`), 400, 'invalid-request')
    isProblem(t, await revoke(as, `${id}0`), 400, 'invalid-request')
    t.match((await list(as)).json().items, [{ id, name: 'Authenticator' }])
  })
})

t.test('DELETE …/authenticators/{authenticatorId}', async (t) => {
  t.test('204: removing one of two rejects its codes and revokes all earlier tokens', async (t) => {
    const { user, tablet, as } = await userWithTwo()
    await trust(user, { days: 30 })
    clock.advance({ seconds: 30 })
    const stepToken = await user.stepToken()
    const { accessToken } = (await verify(await user.stepToken(), user.nextCode())).json()
    const before = await stateOf(user)
    const event = {
      type: 'authenticator.remove',
      actorId: user.id,
      targetKind: 'authenticator',
      targetId: user.authenticatorId,
      details: { authenticator: 'Authenticator', twoFactor: 'on' }
    }
    const mail = { kind: 'authenticator_removed', details: { authenticator: 'Authenticator' } }
    const act = () => remove(as, user.authenticatorId)
    const answer = await isDone(t, user, act, { status: 204, event, mail })
    t.equal(answer.body, '')
    const after = await stateOf(user)
    t.match(after.user, raisedFrom(before))
    t.equal(before.devices.length, 1)
    t.same(after.devices, [], 'the removed authenticator may have trusted them')

    for (const token of [as, accessToken]) {
      isProblem(t, await list(token), 401, 'invalid-credential')
    }
    clock.advance({ seconds: 30 })
    const ofTablet = () => codeAt(tablet.setupKey, now())
    isProblem(t, await verify(stepToken, ofTablet()), 401, 'invalid-credential')
    isProblem(t, await verify(await user.stepToken(), user.nextCode()), 422, 'code-rejected')
    const signIn = await verify(await user.stepToken(), ofTablet())
    t.equal(signIn.statusCode, 200)
    t.equal((await recover(await user.stepToken(), user.recoveryCodes[0] ?? '')).statusCode, 200)

    const again = signIn.json().accessToken
    t.equal((await enroll(again, { name: 'Authenticator' })).statusCode, 201, 'its name is free')
  })

  t.test('204: removing the last one turns two-factor off', async (t) => {
    const user = await enrolledUser()
    const as = await user.accessToken()
    const pending = (await enroll(as)).json()
    await trust(user, { days: 30 })
    const lock = { codeFailures: 10, codeLockedUntil: now(), codeDisabledAt: now() }
    await prisma.user.updateMany({
      where: { id: user.id },
      data: { ...lock, recoveryFailures: 10, recoveryLockedUntil: now() }
    })
    const before = await stateOf(user)
    const event = {
      type: 'authenticator.remove',
      targetId: user.authenticatorId,
      details: { authenticator: 'Authenticator', twoFactor: 'off' }
    }
    const mail = { kind: 'two_factor_disabled', details: {} }
    const act = () => remove(as, user.authenticatorId, user.id)
    await isDone(t, user, act, { status: 204, event, mail })
    await isOff(t, user, before)
    isProblem(t, await list(as), 401, 'invalid-credential')
    const token = await assertedToken(user)
    const late = await confirm(token, pending.authenticatorId, codeAt(pending.setupKey, now()))
    isProblem(t, late, 404, 'enrollment-not-found')
  })

  t.test('204: after one of five is removed, another one can be added', async (t) => {
    const user = await enrolledUser()
    let as = await user.accessToken()
    for (let count = 2; count <= 5; count += 1) as = (await add(as)).accessToken
    isProblem(t, await enroll(as), 409, 'too-many-authenticators')
    t.equal((await remove(as, user.authenticatorId)).statusCode, 204)
    const [recoveryCode = ''] = user.recoveryCodes
    const signIn = await recover(await user.stepToken(), recoveryCode)
    t.equal((await enroll(signIn.json().accessToken)).statusCode, 201)
  })

  t.test('204: the authenticator to be replaced may be removed first', async (t) => {
    const { user, tablet, as } = await userWithTwo()
    const pending = (await enroll(as, { replaces: user.authenticatorId })).json()
    t.equal((await remove(as, user.authenticatorId)).statusCode, 204)
    clock.advance({ seconds: 30 })
    const signIn = await verify(await user.stepToken(), codeAt(tablet.setupKey, now()))
    const again = signIn.json().accessToken
    const code = codeAt(pending.setupKey, now())
    const confirmed = await confirm(again, pending.authenticatorId, code)
    t.match(confirmed.json(), { reason: 'enrolled', recoveryCodesRemaining: 10 })
    t.equal(confirmed.json().recoveryCodes, undefined)
    const successor = confirmed.json().accessToken
    t.same(idsOf(await list(successor)), [tablet.authenticatorId, pending.authenticatorId])
  })

  t.test('409: the last one stays while the account requires two-factor', async (t) => {
    const account = await createAccount()
    const { user, tablet, as } = await userWithTwo({ account })
    await changePolicy(account, { twoFactor: 'required' })
    t.equal((await remove(as, tablet.authenticatorId)).statusCode, 204, 'the other one of two')
    const left = await user.accessToken()
    // A pending authenticator does not count as a second one.
    const pending = (await enroll(left)).json()
    const act = () => remove(left, user.authenticatorId)
    const event = { type: 'authenticator.remove', targetId: user.authenticatorId }
    await isRefused(t, user, act, [409, 'policy-requires-authenticator'], event)
    t.ok(await isAccepted(left))
    t.equal(
      (await remove(left, pending.authenticatorId)).statusCode,
      204,
      'the pending one may be removed'
    )
    await changePolicy(account, { twoFactor: 'optional' })
    t.equal((await remove(left, user.authenticatorId)).statusCode, 204)
  })

  t.test('204: a cancelled set-up cannot be confirmed, and tokens stay valid', async (t) => {
    const user = await enrolledUser()
    const as = await user.accessToken()
    const stepToken = await user.stepToken()
    const { authenticatorId, setupKey } = (await enroll(as)).json()
    const event = {
      type: 'authenticator.remove',
      targetId: authenticatorId,
      details: { state: 'pending' }
    }
    const act = () => remove(as, authenticatorId)
    await isDone(t, user, act, { status: 204, event, mail: null })
    const code = codeAt(setupKey, now())
    const late = await confirm(as, authenticatorId, code)
    isProblem(t, late, 404, 'enrollment-not-found')
    t.same(idsOf(await list(as)), [user.authenticatorId])
    t.equal((await verify(stepToken, user.nextCode())).statusCode, 200)
    isProblem(t, await remove(as, authenticatorId), 404, 'authenticator-not-found')
  })

  t.test('401: only one of two concurrent removals succeeds', async (t) => {
    const { user, tablet, as } = await userWithTwo()
    const answers = await Promise.all(
      [user, tablet].map(({ authenticatorId }) => remove(as, authenticatorId))
    )
    t.same(answers.map(verdictOf).sort(), ['204', '401 invalid-credential'])
    t.equal((await stateOf(user)).authenticators.length, 1)
  })
})
