// B4: users turn their own two-factor off. Only users themselves may change it, and only with a fresh second factor.
import t from 'tap'
import { OPERATOR_KEY } from '../../support/app.ts'
import { isProblem } from '../../support/problems.ts'
import { startWithFactors } from './factors.ts'

const service = await startWithFactors(t)
const { app, assertedToken, changePolicy, clock, codeAt, confirm, createAccount, enroll } = service
const { createUser, enrolledUser, recover, verify } = service
const { isAccepted, isDone, isOff, isRefused, now, prisma, remove, rename, stateOf } = service
const { traced, trust, turnOff, userWithTwo } = service

t.test('DELETE /v1/users/{userId}/two-factor', async (t) => {
  t.test(
    '204: everything of two-factor is removed, and the next sign-in needs no code',
    async (t) => {
      const { user, tablet, as } = await userWithTwo()
      await trust(user, { days: 30 })
      const before = await stateOf(user)
      const event = { type: 'two_factor.turn_off', targetKind: 'user', targetId: user.id }
      const mail = { kind: 'two_factor_disabled', details: {} }
      await isDone(t, user, () => turnOff(as), { status: 204, event, mail })
      await isOff(t, user, before)
      isProblem(t, await turnOff(as), 401, 'invalid-credential')

      // After two-factor is turned on again, everything is new.
      const token = await assertedToken(user)
      const { authenticatorId, setupKey } = (await enroll(token)).json()
      const answer = await confirm(token, authenticatorId, codeAt(setupKey, now()))
      const { recoveryCodes } = answer.json()
      t.equal(recoveryCodes.length, 10)
      clock.advance({ minutes: 1 })
      for (const code of [user.nextCode(), codeAt(tablet.setupKey, now())]) {
        isProblem(t, await verify(await user.stepToken(), code), 422, 'code-rejected')
      }
      const [old = ''] = user.recoveryCodes
      isProblem(t, await recover(await user.stepToken(), old), 422, 'code-rejected')
      t.equal((await recover(await user.stepToken(), recoveryCodes[0])).statusCode, 200)
    }
  )

  t.test('409: two-factor stays on while the account requires it', async (t) => {
    const account = await createAccount()
    const { user, as } = await userWithTwo({ account })
    await changePolicy(account, { twoFactor: 'required' })
    const event = { type: 'two_factor.turn_off', targetId: user.id }
    for (const id of ['me', user.id]) {
      const act = () => turnOff(as, id)
      await isRefused(t, user, act, [409, 'policy-requires-authenticator'], event)
      // Later refusals of the same act are folded for a minute.
      clock.advance({ seconds: 60 })
    }
    t.ok(await isAccepted(as))
  })

  t.test('409: a replica with a slow clock enforces an immediate requirement', async (t) => {
    const account = await createAccount()
    const { user, as } = await userWithTwo({ account })
    await changePolicy(account, { twoFactor: 'required' })
    const requiredSince = new Date(now().getTime() + 5000)
    await prisma.policy.update({ where: { accountId: account.id }, data: { requiredSince } })
    await isRefused(t, user, () => turnOff(as), [409, 'policy-requires-authenticator'])
    const other = await assertedToken(await createUser({ account }))
    isProblem(t, await turnOff(other), 401, 'invalid-credential')
  })

  t.test('204: nothing happens if two-factor is already off', async (t) => {
    const account = await createAccount()
    const user = await enrolledUser({ account })
    const as = await user.accessToken()
    // No route leads to a fresh second factor without an authenticator, but a change of the database could.
    await prisma.authenticator.deleteMany({ where: { userId: user.id } })
    await changePolicy(account, { twoFactor: 'required' })
    const before = await stateOf(user)
    const { answer, events, mails } = await traced(user, () => turnOff(as))
    t.equal(answer.statusCode, 204)
    t.same({ events, mails }, { events: [], mails: [] })
    t.same(await stateOf(user), before)
  })
})

t.test(
  '401, 403: only users themselves may act, and only with a fresh second factor',
  async (t) => {
    const account = await createAccount()
    const user = await enrolledUser({ account })
    const stale = await user.accessToken()
    clock.advance({ seconds: 601 })
    const admin = await enrolledUser({ account, role: 'admin' })
    const asAdmin = await admin.accessToken()
    const stepToken = await user.stepToken()
    for (const [type, act] of [
      [
        'authenticator.rename',
        (as: string, id: string) => rename(as, user.authenticatorId, { name: 'Mine' }, id)
      ],
      ['authenticator.remove', (as: string, id: string) => remove(as, user.authenticatorId, id)],
      ['two_factor.turn_off', turnOff]
    ] as const) {
      for (const [as, id, problem] of [
        [stale, 'me', [401, 'step-up-required']],
        [stepToken, 'me', [401, 'invalid-credential']],
        [asAdmin, user.id, [403, 'limited-access']],
        [account.apiKey, user.id, [403, 'insufficient-scope']]
      ] as const) {
        const document = await isRefused(t, user, () => act(as, id), problem, { type })
        if (as === stale) t.equal(document['next'], 'verify')
      }
      isProblem(t, await act(OPERATOR_KEY, user.id), 403, 'insufficient-scope')
    }
  }
)

t.test('500: an act is not done if its audit event or its mail cannot be written', async (t) => {
  const { user, as } = await userWithTwo()
  const pending = (await enroll(as)).json()
  const device = await trust(user, { days: 30 })
  const me = '/v1/users/me'
  const removal = ['DELETE', `${me}/authenticators/${user.authenticatorId}`] as const
  const turningOff = ['DELETE', `${me}/two-factor`] as const
  const others = [
    ['PATCH', `${me}/authenticators/${user.authenticatorId}`],
    ['DELETE', `${me}/authenticators/${pending.authenticatorId}`],
    ['DELETE', `${me}/devices/${device.id}`]
  ] as const
  const before = await stateOf(user)
  for (const [table, check, acts] of [
    ['AuditEvent', `outcome <> 'succeeded'`, [removal, turningOff, ...others]],
    ['OutboxMail', 'false', [removal, turningOff]]
  ] as const) {
    const name = `"${table}_broken"`
    const add = `ALTER TABLE "${table}" ADD CONSTRAINT ${name} CHECK (${check}) NOT VALID`
    await prisma.$executeRawUnsafe(add)
    for (const [method, url] of acts) {
      const headers = { authorization: `Bearer ${as}` }
      const payload = method === 'PATCH' ? { payload: { name: 'Phone' } } : {}
      const { statusCode } = await app.inject({ method, url, headers, ...payload })
      t.equal(statusCode, 500, `${table}: ${method} ${url}`)
    }
    await prisma.$executeRawUnsafe(`ALTER TABLE "${table}" DROP CONSTRAINT ${name}`)
  }
  t.same(await stateOf(user), before)
})
