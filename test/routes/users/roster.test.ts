import t from 'tap'
import { OPERATOR_KEY, startApp, type TestUser, UNKNOWN } from '../../support/app.ts'
import { isProblem, pointersOf, tellTales } from '../../support/problems.ts'
import { insertEveryState, insertUsers } from '../../support/roster.ts'

type Shown = Record<'since' | 'lockedUntil' | 'codesDisabledAt', string | null>
interface Roster {
  items: { id: string; email: string; twoFactor: Shown & { state: string; exempt: boolean } }[]
  nextCursor: string | null
}

const service = await startApp(t)
const { database, call, clock, createAccount, createApiKey, createUser, enrolledUser } = service
const { assertedToken, changePolicy, confirm, enroll, verify } = service

const read = (as: string, id: string) => call('GET', `/v1/users/${id}`, { as })
const change = (as: string, id: string, body: object) =>
  call('PATCH', `/v1/users/${id}`, { as, body })
const remove = (as: string, id: string) => call('DELETE', `/v1/users/${id}`, { as })
const list = async (as: string, query: Record<string, string | number>): Promise<Roster> => {
  const asked = new URLSearchParams()
  for (const [key, value] of Object.entries(query)) asked.set(key, String(value))
  const answer = await call('GET', `/v1/users?${asked}`, { as })
  if (answer.statusCode === 200) return answer.json()
  throw new Error(`status ${answer.statusCode}: ${answer.body}`)
}
const asBackEnd = ({ account }: TestUser) => account.apiKey

t.test('GET /v1/users', async (t) => {
  t.test('200: a filter finds exactly the users whose items have that state', async (t) => {
    const account = await createAccount()
    const made = await insertEveryState(database, account, clock.now())
    const found: Record<string, string[]> = {}
    for (const twoFactor of ['enabled', 'disabled', 'pending', 'locked', 'exempt']) {
      const { items } = await list(account.apiKey, { twoFactor, limit: 200 })
      found[twoFactor] = idsOf(items)
    }
    const { items } = await list(account.apiKey, { limit: 200 })
    const which = (is: (item: Roster['items'][number]) => boolean) => idsOf(items.filter(is))
    const isLocked = ({ twoFactor }: Roster['items'][number]) =>
      twoFactor.lockedUntil !== null || twoFactor.codesDisabledAt !== null
    t.same(found, {
      enabled: which(({ twoFactor }) => twoFactor.state === 'enabled'),
      disabled: which(({ twoFactor }) => twoFactor.state === 'disabled'),
      pending: which(({ twoFactor }) => twoFactor.state === 'pending'),
      locked: which(isLocked),
      exempt: which(({ twoFactor }) => twoFactor.exempt)
    })
    t.equal(items.length, made.length)
    for (const [index, { expected, ...user }] of made.entries()) {
      t.hasStrict(items[index]?.twoFactor, expected, JSON.stringify(user))
    }
    const some = items.filter((_, number) => number % 7 === 0)
    for (const item of some) t.same((await read(account.apiKey, item.id)).json(), item)
  })

  t.test('200: no user is missing or listed twice while users are added and deleted', async (t) => {
    const account = await createAccount()
    const before = await insertUsers(database, account, 250)
    const met: string[] = []
    const gone: string[] = []
    const come: string[] = []
    let query: { cursor?: string } | null = {}
    while (query) {
      const page = await list(account.apiKey, { ...query, q: 'user', limit: 7 })
      met.push(...idsOf(page.items))
      query = page.nextCursor === null ? null : { cursor: page.nextCursor }
      // The user whom the cursor names, and a user on a later page.
      const last = met.at(-1) ?? ''
      const ahead = before.filter((id) => id > last && !gone.includes(id))
      const leaving = [last, ...ahead.slice(10, 11)]
      for (const id of leaving) t.equal((await remove(account.apiKey, id)).statusCode, 204)
      gone.push(...leaving)
      if (come.length < 20) come.push(...(await insertUsers(database, account, 1)))
    }
    t.ok(gone.length > 50)
    t.equal(new Set(met).size, met.length, 'no user twice')
    t.same(met, met.toSorted(), 'oldest first')
    const stayed = [...before, ...come].filter((id) => !gone.includes(id))
    t.same(
      stayed.filter((id) => !met.includes(id)),
      [],
      'no user missing'
    )
  })

  t.test(
    '200: q finds a literal part of the e-mail address or externalId, in any case',
    async (t) => {
      const [account, other] = [await createAccount(), await createAccount()]
      const people = [
        ['ada_l@example.com', 'CRM-100%'],
        ['adaxl@example.com', 'crm-1000'],
        ['grace@navy.example', 'back\\slash'],
        ['joan@example.com', 'ÄRZTE 7'],
        ['jean@example.com', null]
      ] as const
      for (const { apiKey: as } of [account, other]) {
        for (const [email, externalId] of people) {
          const body = { email, ...(externalId && { externalId }) }
          t.equal((await call('POST', '/v1/users', { as, body })).statusCode, 201)
        }
      }
      const everybody = people.map(([email]) => email.split('@')[0])
      for (const [q, expected] of [
        ['ada_l', ['ada_l']],
        ['%', ['ada_l']],
        ['_', ['ada_l']],
        ['100', ['ada_l', 'adaxl']],
        ['\\', ['grace']],
        ['\\S', ['grace']],
        ['K\\', ['grace']],
        ['crm-', ['ada_l', 'adaxl']],
        ['GRACE@Navy', ['grace']],
        ['ärzte', ['joan']],
        [' ', ['joan']],
        ['@', everybody],
        ["' OR ''='", []],
        ['argon2', []],
        ['x'.repeat(100), []]
      ] as const) {
        const { items } = await list(account.apiKey, { q })
        t.same(
          items.map(({ email }) => email.split('@')[0]),
          expected,
          q
        )
        const own = new Set(idsOf((await list(account.apiKey, {})).items))
        t.ok(
          items.every(({ id }) => own.has(id)),
          'of this account'
        )
      }
    }
  )

  t.test(
    '200: the filter, q and the cursor combine, and a cursor is only a position',
    async (t) => {
      const account = await createAccount()
      const made = await insertEveryState(database, account, clock.now())
      const [one, ...others] = made.filter(
        ({ expected }, number) => expected.state === 'disabled' && /^1/.test(String(number))
      )
      const query = { twoFactor: 'disabled', q: 'CRM-1' }
      const first = await list(account.apiKey, { ...query, limit: 1 })
      t.same(idsOf(first.items), [one?.id])
      const cursor = String(first.nextCursor)
      const rest = await list(account.apiKey, { ...query, cursor })
      t.same(idsOf(rest.items), idsOf(others))
      const anyState = await list(account.apiKey, { cursor, limit: 200 })
      t.same(
        idsOf(anyState.items),
        idsOf(made).filter((id) => id > (one?.id ?? ''))
      )
    }
  )

  t.test('400: an invalid query is rejected, and the problem names the parameter', async (t) => {
    const { apiKey: as } = await createAccount()
    const keysCursor = Buffer.from('a1b2c3d4e5f6').toString('base64url')
    for (const [query, pointer] of [
      ['twoFactor=on', '/twoFactor'],
      ['twoFactor=', '/twoFactor'],
      ['twoFactor=Enabled', '/twoFactor'],
      ['twoFactor=enabled&twoFactor=locked', '/twoFactor'],
      ['twoFactor=constructor', '/twoFactor'],
      ['q=', '/q'],
      [`q=${'x'.repeat(101)}`, '/q'],
      [`q=${'%C3%A4'.repeat(101)}`, '/q'],
      ['q=%00', '/q'],
      ['q=a%00b', '/q'],
      ['q=a%0Ab', '/q'],
      ['q=a&q=b', '/q'],
      ['q[]=a', '/q[]'],
      ['Q=a', '/Q'],
      ['limit=0', '/limit'],
      ['limit=201', '/limit'],
      ['limit=1.5', '/limit'],
      ['limit=1&limit=2', '/limit'],
      ['q=a&cursor=a', '/cursor'],
      [`twoFactor=locked&cursor=${keysCursor}`, '/cursor']
    ] as const) {
      const answer = await call('GET', `/v1/users?${query}`, { as })
      t.same(pointersOf(isProblem(t, answer, 400, 'invalid-request')), [pointer], query)
    }
    t.same((await list(as, { q: 'ä'.repeat(100) })).items, [], 'a hundred characters, not bytes')
    const notUtf8 = await call('GET', '/v1/users?q=%ff%ED%A0%80', { as })
    t.ok([200, 400].includes(notUtf8.statusCode), 'never 5xx')
  })

  t.test('200: every caller lists only users of the own account', async (t) => {
    const [account, other] = [await createAccount(), await createAccount()]
    const admin = await createUser({ account, role: 'admin' })
    await createUser({ account: other })
    const reader = await createApiKey(account, 'users:read')
    for (const as of [reader, await assertedToken(admin)]) {
      const { items, nextCursor } = (await call('GET', '/v1/users', { as })).json()
      t.same(
        items.map(({ id }: { id: string }) => id),
        [admin.id]
      )
      t.equal(nextCursor, null)
    }
  })

  t.test('403: members and keys without the scope are refused', async (t) => {
    const user = await createUser()
    const asMember = await assertedToken(user)
    const writer = await createApiKey(user.account, 'users:write', 'users:reset')
    for (const query of ['', '?twoFactor=enabled&q=user', '?q=']) {
      const path = `/v1/users${query}`
      isProblem(t, await call('GET', path, { as: asMember }), 403, 'limited-access')
      for (const as of [writer, OPERATOR_KEY]) {
        isProblem(t, await call('GET', path, { as }), 403, 'insufficient-scope')
      }
    }
  })
})

t.test('GET /v1/users/{userId}', async (t) => {
  t.test('200: users read themselves by id and as me, and an admin reads every user', async (t) => {
    const account = await createAccount()
    const [member, admin] = [
      await createUser({ account }),
      await createUser({ account, role: 'admin' })
    ]
    const asMember = await assertedToken(member)
    const [byId, asMe] = [await read(asMember, member.id), await read(asMember, 'me')]
    t.equal(byId.statusCode, 200)
    t.equal(byId.body, asMe.body)
    t.match(byId.json(), { id: member.id, lastSignInAt: clock.now().toISOString() })
    t.equal((await read(await assertedToken(admin), member.id)).json().id, member.id)
    t.notMatch(byId.body, /argon2|password|secret/i)
  })

  t.test('403: a member reads no other user, and does not learn which users exist', async (t) => {
    const [member, other] = [await createUser(), await createUser()]
    const as = await assertedToken(member)
    const refused = await read(as, other.id)
    isProblem(t, refused, 403, 'limited-access')
    t.same(tellTales(await read(as, UNKNOWN)), tellTales(refused))
  })

  t.test(
    "404: another account's user and an unknown id get the same response except requestId",
    async (t) => {
      const [own, other] = [await createAccount(), await createAccount()]
      const foreigner = await createUser({ account: other })
      const admin = await enrolledUser({ account: own, role: 'admin' })
      for (const as of [own.apiKey, await admin.accessToken()]) {
        for (const act of [
          (id: string) => read(as, id),
          (id: string) => change(as, id, { role: 'admin' }),
          (id: string) => change(as, id, { disabled: true }),
          (id: string) => remove(as, id)
        ]) {
          const refused = await act(foreigner.id)
          isProblem(t, refused, 404, 'user-not-found')
          t.same(tellTales(refused), tellTales(await act(UNKNOWN)))
        }
      }
      t.match((await read(other.apiKey, foreigner.id)).json(), { role: 'member', disabled: false })
    }
  )

  t.test('404: me is no user for an API key', async (t) => {
    const { apiKey } = await createAccount()
    isProblem(t, await read(apiKey, 'me'), 404, 'user-not-found')
    isProblem(t, await change(apiKey, 'me', { role: 'admin' }), 404, 'user-not-found')
    isProblem(t, await remove(apiKey, 'me'), 404, 'user-not-found')
  })

  t.test('200: a user is shown as pending, enabled or locked', async (t) => {
    const user = await createUser()
    const token = await assertedToken(user)
    const state = async () => (await read(asBackEnd(user), user.id)).json().twoFactor
    const { authenticatorId, setupKey } = (await enroll(token)).json()
    t.match(await state(), { state: 'pending', since: null, authenticators: 0 })
    clock.advance({ minutes: 10 })
    t.match(await state(), { state: 'disabled' }, 'an expired enrollment does not count')

    const again = (await enroll(await assertedToken(user))).json()
    t.not(again.authenticatorId, authenticatorId)
    t.not(again.setupKey, setupKey)
    const enrolled = await enrolledUser({ account: user.account })
    const since = clock.now().toISOString()
    const { twoFactor } = (await read(asBackEnd(user), enrolled.id)).json()
    t.match(twoFactor, {
      state: 'enabled',
      since,
      lockedUntil: null,
      authenticators: 1,
      recoveryCodesRemaining: 10,
      reason: 'user_enabled'
    })
    const wrong = enrolled.codeAt(new Date(clock.now().getTime() + 86_400_000))
    for (const token of [await enrolled.stepToken(), await enrolled.stepToken()]) {
      for (let guess = 0; guess < 5; guess += 1) await verify(token, wrong)
    }
    const lockedUntil = new Date(clock.now().getTime() + 900_000).toISOString()
    const locked = async () => (await read(asBackEnd(user), enrolled.id)).json().twoFactor
    t.match(await locked(), { state: 'enabled', lockedUntil })
    clock.advance({ minutes: 15 })
    t.match(await locked(), { state: 'enabled', lockedUntil: null })
  })
})

t.test('200: required and its reason follow the policy', async (t) => {
  const account = await createAccount()
  const user = await createUser({ account })
  await changePolicy(account, { twoFactor: 'required' })
  const { twoFactor } = (await read(account.apiKey, user.id)).json()
  t.match(twoFactor, { state: 'disabled', required: true, reason: 'account_required' })
  const stepToken = await assertedToken(user)
  const { authenticatorId, setupKey } = (await enroll(stepToken)).json()
  await confirm(stepToken, authenticatorId, service.codeAt(setupKey, clock.now()))
  t.match((await read(account.apiKey, user.id)).json().twoFactor, {
    state: 'enabled',
    required: true,
    exempt: false
  })
})

function idsOf(users: { id: string }[]): string[] {
  return users.map(({ id }) => id)
}
