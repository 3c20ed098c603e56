import t from 'tap'
import { OPERATOR_KEY, PASSWORD, startApp, type TestUser, UNKNOWN } from '../../support/app.ts'
import { tally } from '../../support/guesses.ts'
import { isProblem, pointersOf, tellTales } from '../../support/problems.ts'
import { insertEveryState, insertUsers } from '../../support/roster.ts'

type Shown = Record<'since' | 'lockedUntil' | 'codesDisabledAt', string | null>
interface Roster {
  items: { id: string; email: string; twoFactor: Shown & { state: string; exempt: boolean } }[]
  nextCursor: string | null
}

const service = await startApp(t)
const { database, call, clock, createAccount, createApiKey, createUser, enrolledUser, login } =
  service
const { changePolicy, confirm, enroll, assertedToken, verify } = service

const ANOTHER_PASSWORD = 'twelve drummers drumming'

const read = (as: string, id: string) => call('GET', `/v1/users/${id}`, { as })
const change = (as: string, id: string, body: object) =>
  call('PATCH', `/v1/users/${id}`, { as, body })
const remove = (as: string, id: string) => call('DELETE', `/v1/users/${id}`, { as })
const list = async (as: string, query: Record<string, string | number>): Promise<Roster> => {
  const asked = new URLSearchParams()
  for (const [key, value] of Object.entries(query)) asked.set(key, String(value))
  const answer = await call('GET', `/v1/users?${asked}`, { as })
  if (answer.statusCode === 200) return answer.json()
  throw new Error(`answered ${answer.statusCode}: ${answer.body}`)
}
const asBackEnd = ({ account }: TestUser) => account.apiKey

t.test('POST /v1/users', async (t) => {
  t.test('201: a user as the roster shows one, a member unless said otherwise', async (t) => {
    const account = await createAccount()
    const body = { email: 'Grace.Hopper@Example.COM', password: PASSWORD, externalId: 'crm-1' }
    const answer = await call('POST', '/v1/users', { as: account.apiKey, body })
    t.equal(answer.statusCode, 201)
    const user = answer.json()
    t.same(user, {
      id: user.id,
      email: 'grace.hopper@example.com',
      role: 'member',
      disabled: false,
      externalId: 'crm-1',
      createdAt: clock.now().toISOString(),
      lastSignInAt: null,
      twoFactor: {
        state: 'disabled',
        since: null,
        lockedUntil: null,
        codesDisabledAt: null,
        authenticators: 0,
        recoveryCodesRemaining: 0,
        required: false,
        exempt: false,
        reason: 'not_required'
      }
    })
    t.same((await read(account.apiKey, user.id)).json(), user)
    const email = 'GRACE.HOPPER@EXAMPLE.com'
    t.equal((await login({ account, email, password: PASSWORD })).statusCode, 200)
  })

  t.test('409: an address is taken once in an account, in any case, even in a race', async (t) => {
    const [account, other] = [await createAccount(), await createAccount()]
    const create = (as: string, email: string) => call('POST', '/v1/users', { as, body: { email } })
    const raced = await Promise.all(
      ['joan@example.com', 'JOAN@example.com'].map((email) => create(account.apiKey, email))
    )
    t.same(raced.map(({ statusCode }) => statusCode).sort(), [201, 409])
    isProblem(t, await create(account.apiKey, 'Joan@Example.com'), 409, 'email-taken')
    t.equal((await create(other.apiKey, 'joan@example.com')).statusCode, 201)

    const second = await create(account.apiKey, 'jean@example.com')
    const taken = await change(account.apiKey, second.json().id, { email: 'JOAN@example.com' })
    isProblem(t, taken, 409, 'email-taken')
  })

  t.test('422: a password that is tried first, with what is wrong', async (t) => {
    const account = await createAccount()
    for (const [password, detail] of [
      ['short', /8 characters/],
      ['       ', /8 characters/],
      ['a'.repeat(129), /128 characters/],
      ['aaaaaaaaaa', /repeated/],
      ['Password123', /tried first/],
      ['ada.lovelace', /e-mail/],
      ['ADA.LOVELACE@EXAMPLE.COM', /e-mail/]
    ] as const) {
      const body = { email: 'ada.lovelace@example.com', password }
      const answer = await call('POST', '/v1/users', { as: account.apiKey, body })
      t.match(
        isProblem(t, answer, 422, 'weak-password')['detail'],
        detail,
        JSON.stringify(password)
      )
      t.notMatch(answer.body, password, 'which is not repeated')
    }
    const { items } = (await call('GET', '/v1/users', { as: account.apiKey })).json()
    t.same(items, [])
  })

  t.test('403: for API keys with users:write alone', async (t) => {
    const account = await createAccount()
    const admin = await enrolledUser({ account, role: 'admin' })
    const reader = await createApiKey(account, 'users:read', 'users:reset')
    for (const as of [reader, await admin.accessToken(), OPERATOR_KEY]) {
      const answer = await call('POST', '/v1/users', { as, body: { email: 'new@example.com' } })
      isProblem(t, answer, 403, 'insufficient-scope')
    }
  })
})

t.test('GET /v1/users', async (t) => {
  t.test('200: a filter finds those, and only those, whose item says so', async (t) => {
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

  t.test('200: nobody is missed or met twice while users come and go', async (t) => {
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
      // The one whom the cursor names, and one who is still to come.
      const last = met.at(-1) ?? ''
      const ahead = before.filter((id) => id > last && !gone.includes(id))
      const leaving = [last, ...ahead.slice(10, 11)]
      for (const id of leaving) t.equal((await remove(account.apiKey, id)).statusCode, 204)
      gone.push(...leaving)
      if (come.length < 20) come.push(...(await insertUsers(database, account, 1)))
    }
    t.ok(gone.length > 50)
    t.equal(new Set(met).size, met.length, 'nobody twice')
    t.same(met, met.toSorted(), 'oldest first')
    const stayed = [...before, ...come].filter((id) => !gone.includes(id))
    t.same(
      stayed.filter((id) => !met.includes(id)),
      [],
      'nobody missed'
    )
  })

  t.test('200: q finds part of the e-mail or externalId, in any case, literally', async (t) => {
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
  })

  t.test('200: filter, q and cursor narrow together; a cursor is but a position', async (t) => {
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
  })

  t.test('400: a query that asks for nothing the roster has, named', async (t) => {
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
    t.ok([200, 400].includes(notUtf8.statusCode), 'and never 5xx')
  })

  t.test('200: of the own account only, whoever asks', async (t) => {
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

  t.test('403: not for members, nor for keys without the scope', async (t) => {
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
  t.test('200: oneself by id and as me, an admin everybody', async (t) => {
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

  t.test('403: a member sees nobody else, and learns nothing of who is there', async (t) => {
    const [member, other] = [await createUser(), await createUser()]
    const as = await assertedToken(member)
    const refused = await read(as, other.id)
    isProblem(t, refused, 403, 'limited-access')
    t.same(tellTales(await read(as, UNKNOWN)), tellTales(refused))
  })

  t.test(
    "404: another account's user and an unknown id answer alike, byte for byte but for requestId",
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

  t.test('404: me is nobody to an API key', async (t) => {
    const { apiKey } = await createAccount()
    isProblem(t, await read(apiKey, 'me'), 404, 'user-not-found')
    isProblem(t, await change(apiKey, 'me', { role: 'admin' }), 404, 'user-not-found')
    isProblem(t, await remove(apiKey, 'me'), 404, 'user-not-found')
  })

  t.test('200: pending, enabled and locked show as what they are', async (t) => {
    const user = await createUser()
    const token = await assertedToken(user)
    const state = async () => (await read(asBackEnd(user), user.id)).json().twoFactor
    const { authenticatorId, setupKey } = (await enroll(token)).json()
    t.match(await state(), { state: 'pending', since: null, authenticators: 0 })
    clock.advance({ minutes: 10 })
    t.match(await state(), { state: 'disabled' }, 'an enrolment that ran out counts for nothing')

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

t.test('PATCH /v1/users/{userId} by an API key', async (t) => {
  t.test('200: every field, and only those named', async (t) => {
    const user = await createUser()
    const as = await createApiKey(user.account, 'users:write')
    const before = (await read(asBackEnd(user), user.id)).json()
    for (const body of [
      { email: 'renamed@example.com' },
      { disabled: true },
      { disabled: false },
      { externalId: 'crm-2' },
      { externalId: null },
      { role: 'admin', externalId: 'crm-3' }
    ]) {
      const answer = await change(as, user.id, body)
      t.equal(answer.statusCode, 200)
      t.same(answer.json(), Object.assign(before, body))
    }
  })

  t.test('200: a new password replaces the old one and kills the tokens before it', async (t) => {
    const user = await enrolledUser()
    const [accessToken, stepToken] = [await user.accessToken(), await user.stepToken()]
    const changed = await change(asBackEnd(user), user.id, { password: ANOTHER_PASSWORD })
    t.equal(changed.statusCode, 200)
    isProblem(t, await read(accessToken, 'me'), 401, 'invalid-credential')
    isProblem(t, await verify(stepToken, user.nextCode()), 401, 'invalid-credential')
    isProblem(t, await login(user), 401, 'invalid-credentials')
    const { status } = (await login({ ...user, password: ANOTHER_PASSWORD })).json()
    t.equal(status, 'verification_required', 'the authenticator stays')
  })

  t.test('200: disabling ends everything at once, enabling revives no old token', async (t) => {
    const user = await enrolledUser()
    const [accessToken, stepToken] = [await user.accessToken(), await user.stepToken()]
    t.equal((await change(asBackEnd(user), user.id, { disabled: true })).json().disabled, true)
    isProblem(t, await read(accessToken, 'me'), 401, 'invalid-credential')
    isProblem(t, await verify(stepToken, user.nextCode()), 401, 'invalid-credential')
    isProblem(t, await login(user), 401, 'invalid-credentials')

    t.equal((await change(asBackEnd(user), user.id, { disabled: false })).json().disabled, false)
    isProblem(t, await read(accessToken, 'me'), 401, 'invalid-credential')
    isProblem(t, await verify(stepToken, user.nextCode()), 401, 'invalid-credential')
    t.equal((await login(user)).json().status, 'verification_required')
  })

  t.test('200: a rename or a new role kills no token, and holds for it at once', async (t) => {
    const account = await createAccount()
    const admin = await createUser({ account, role: 'admin' })
    await createUser({ account, role: 'admin' })
    const as = await assertedToken(admin)
    await change(account.apiKey, admin.id, { email: 'new.name@example.com' })
    t.equal((await read(as, 'me')).json().email, 'new.name@example.com')
    await change(account.apiKey, admin.id, { role: 'member' })
    isProblem(t, await call('GET', '/v1/users', { as }), 403, 'limited-access')
  })

  t.test('403: without users:write, and for the operator', async (t) => {
    const user = await createUser()
    const reader = await createApiKey(user.account, 'users:read', 'keys:write')
    for (const as of [reader, OPERATOR_KEY]) {
      isProblem(t, await change(as, user.id, { role: 'admin' }), 403, 'insufficient-scope')
      isProblem(t, await remove(as, user.id), 403, 'insufficient-scope')
    }
  })

  t.test('400: currentPassword is for people', async (t) => {
    const user = await createUser()
    const body = { password: ANOTHER_PASSWORD, currentPassword: PASSWORD }
    const answer = await change(asBackEnd(user), user.id, body)
    t.same(pointersOf(isProblem(t, answer, 400, 'invalid-request')), ['/currentPassword'])
    t.equal((await login(user)).statusCode, 200, 'nothing has changed')
  })
})

t.test('PATCH /v1/users/{userId} by oneself', async (t) => {
  t.test('200: the password, with the current one and a second factor just now', async (t) => {
    const user = await enrolledUser()
    const as = await user.accessToken()
    const body = { password: ANOTHER_PASSWORD, currentPassword: PASSWORD }
    const { statusCode, headers } = await change(as, 'me', body)
    t.same([statusCode, headers['cache-control']], [200, 'no-store'])
    isProblem(t, await read(as, 'me'), 401, 'invalid-credential')
    isProblem(t, await login(user), 401, 'invalid-credentials')
    t.equal((await login({ ...user, password: ANOTHER_PASSWORD })).statusCode, 200)
  })

  t.test('401: of two at once with one current password, the second is too late', async (t) => {
    const user = await enrolledUser()
    const as = await user.accessToken()
    const passwords = ['a first new pass phrase', 'a second new pass phrase']
    const changes = passwords.map((password) =>
      change(as, 'me', { password, currentPassword: PASSWORD })
    )
    const answers = await Promise.all(changes)
    t.same(Object.keys(tally(answers)).sort(), ['200', '401 invalid-credential'])
    const password = passwords[answers.findIndex(({ statusCode }) => statusCode === 200)] ?? ''
    t.equal((await login({ ...user, password })).statusCode, 200)
  })

  t.test('401: not with one factor, nor with a second one of eleven minutes ago', async (t) => {
    const body = { password: ANOTHER_PASSWORD, currentPassword: PASSWORD }
    const withoutApp = await createUser()
    const byPassword = await assertedToken(withoutApp)
    const first = isProblem(t, await change(byPassword, 'me', body), 401, 'step-up-required')
    t.equal(first['next'], 'enroll', 'there is no second factor yet')
    clock.advance({ seconds: 601 })
    const later = isProblem(t, await change(byPassword, 'me', body), 401, 'step-up-required')
    t.equal(later['next'], 'login', 'and the password is too old to enrol')

    const user = await enrolledUser()
    const as = await user.accessToken()
    clock.advance({ seconds: 601 })
    const stale = await change(as, 'me', body)
    t.equal(isProblem(t, stale, 401, 'step-up-required')['next'], 'verify')
    t.match(stale.headers['www-authenticate'], /insufficient_user_authentication.*max_age=600/)
    t.equal((await login(user)).statusCode, 200, 'nothing has changed')
  })

  t.test('422: a wrong current password; 400: none at all', async (t) => {
    const user = await enrolledUser()
    const as = await user.accessToken()
    const wrong = { password: ANOTHER_PASSWORD, currentPassword: 'not the current one' }
    const rejected = await change(as, 'me', wrong)
    isProblem(t, rejected, 422, 'password-rejected')
    t.equal(rejected.headers['www-authenticate'], undefined, 'the credential is good')
    const missing = await change(as, 'me', { password: ANOTHER_PASSWORD })
    t.same(pointersOf(isProblem(t, missing, 400, 'invalid-request')), ['/currentPassword'])
    const weak = { password: 'password', currentPassword: PASSWORD }
    isProblem(t, await change(as, 'me', weak), 422, 'weak-password')
    t.equal((await read(as, 'me')).statusCode, 200)
  })

  t.test('403: nothing else of oneself, as a member or as an admin', async (t) => {
    const account = await createAccount()
    for (const role of ['member', 'admin'] as const) {
      const user = await enrolledUser({ account, role })
      const as = await user.accessToken()
      for (const body of [
        { role: 'admin' },
        { role: 'member' },
        { disabled: true },
        { email: 'other@example.com' },
        { externalId: 'x' },
        { password: ANOTHER_PASSWORD, currentPassword: PASSWORD, role: 'admin' }
      ]) {
        isProblem(t, await change(as, user.id, body), 403, 'limited-access')
      }
      t.match((await read(as, 'me')).json(), { role, email: user.email, disabled: false })
    }
  })
})

t.test('PATCH and DELETE /v1/users/{userId} by an admin', async (t) => {
  t.test('200: role and disabled of others, 403 all else', async (t) => {
    const account = await createAccount()
    const admin = await enrolledUser({ account, role: 'admin' })
    const member = await createUser({ account })
    const as = await admin.accessToken()
    t.equal((await change(as, member.id, { role: 'admin' })).json().role, 'admin')
    const both = await change(as, member.id, { role: 'member', disabled: true })
    t.match(both.json(), { role: 'member', disabled: true })
    for (const body of [
      { password: ANOTHER_PASSWORD },
      { email: 'taken.over@example.com' },
      { externalId: 'x' },
      { role: 'admin', email: 'taken.over@example.com' }
    ]) {
      isProblem(t, await change(as, member.id, body), 403, 'limited-access')
    }
  })

  t.test('204: an admin deletes others, and what was theirs is gone', async (t) => {
    const account = await createAccount()
    const admin = await enrolledUser({ account, role: 'admin' })
    const member = await enrolledUser({ account })
    const [asAdmin, asMember] = [await admin.accessToken(), await member.accessToken()]
    const deleted = await remove(asAdmin, member.id)
    t.same([deleted.statusCode, deleted.body], [204, ''])
    isProblem(t, await read(asMember, 'me'), 401, 'invalid-credential')
    isProblem(t, await login(member), 401, 'invalid-credentials')
    isProblem(t, await remove(asAdmin, member.id), 404, 'user-not-found')
    const { email } = member
    const reborn = await call('POST', '/v1/users', { as: account.apiKey, body: { email } })
    t.match(reborn.json(), { email, twoFactor: { state: 'disabled', authenticators: 0 } })
    isProblem(t, await remove(asAdmin, 'me'), 403, 'limited-access')
    isProblem(t, await remove(asAdmin, admin.id), 403, 'limited-access')
  })

  t.test('401: not without a second factor just now', async (t) => {
    const account = await createAccount()
    const admin = await enrolledUser({ account, role: 'admin' })
    const member = await createUser({ account })
    const as = await admin.accessToken()
    clock.advance({ seconds: 601 })
    for (const answer of [
      await change(as, member.id, { role: 'admin' }),
      await remove(as, member.id)
    ]) {
      isProblem(t, answer, 401, 'step-up-required')
    }
  })

  t.test('403: not for members', async (t) => {
    const account = await createAccount()
    const [member, other] = [await enrolledUser({ account }), await createUser({ account })]
    const as = await member.accessToken()
    isProblem(t, await change(as, other.id, { role: 'admin' }), 403, 'limited-access')
    isProblem(t, await remove(as, other.id), 403, 'limited-access')
    isProblem(t, await remove(as, 'me'), 403, 'limited-access')
  })
})

t.test('400: an id in capitals is no id, so no admin is somebody else to themself', async (t) => {
  const admin = await enrolledUser({ role: 'admin' })
  const as = await admin.accessToken()
  const inCapitals = admin.id.toUpperCase()
  isProblem(t, await change(as, inCapitals, { role: 'member' }), 400, 'invalid-request')
  isProblem(t, await remove(as, inCapitals), 400, 'invalid-request')
  isProblem(t, await read(asBackEnd(admin), inCapitals), 400, 'invalid-request')
})

t.test('409: an account never loses its last admin', async (t) => {
  const account = await createAccount()
  const [admin, member] = [
    await createUser({ account, role: 'admin' }),
    await createUser({ account })
  ]
  const as = account.apiKey
  isProblem(t, await change(as, admin.id, { role: 'member' }), 409, 'last-admin')
  isProblem(t, await change(as, admin.id, { disabled: true }), 409, 'last-admin')
  isProblem(t, await remove(as, admin.id), 409, 'last-admin')
  t.equal((await change(as, admin.id, { role: 'admin', externalId: 'x' })).statusCode, 200)

  await change(as, member.id, { role: 'admin' })
  await change(as, member.id, { disabled: true })
  const answer = await change(as, admin.id, { role: 'member' })
  isProblem(t, answer, 409, 'last-admin')
  await change(as, member.id, { disabled: false })
  t.equal((await change(as, admin.id, { role: 'member' })).statusCode, 200)
})

t.test('409: of two admins who demote each other at once, one stays', async (t) => {
  for (const act of [
    (as: string, id: string) => change(as, id, { role: 'member' }),
    (as: string, id: string) => change(as, id, { disabled: true }),
    (as: string, id: string) => remove(as, id)
  ]) {
    const account = await createAccount()
    const [one, two] = [
      await enrolledUser({ account, role: 'admin' }),
      await enrolledUser({ account, role: 'admin' })
    ]
    const [asOne, asTwo] = [await one.accessToken(), await two.accessToken()]
    const answers = await Promise.all([act(asOne, two.id), act(asTwo, one.id)])
    const statuses = answers.map(({ statusCode }) => statusCode).sort()
    t.ok((statuses[0] ?? 0) < 300, 'one succeeds')
    // Judged while still an admin: 409; after the other's success: no admin, or nobody at all.
    t.ok([401, 403, 409].includes(statuses[1] ?? 0), `the other is refused: ${statuses}`)
    const { items } = (await call('GET', '/v1/users', { as: account.apiKey })).json()
    const left = items.filter(
      ({ role, disabled }: { role: string; disabled: boolean }) => role === 'admin' && !disabled
    )
    t.equal(left.length, 1)
  }
})

t.test('409: of two demotions by the back end at once, exactly one succeeds', async (t) => {
  const account = await createAccount()
  const admins = [
    await createUser({ account, role: 'admin' }),
    await createUser({ account, role: 'admin' })
  ]
  const answers = await Promise.all(
    admins.map(({ id }) => change(account.apiKey, id, { role: 'member' }))
  )
  t.same(answers.map(({ statusCode }) => statusCode).sort(), [200, 409])
})

t.test('400: the checks of a credential come before those of a body', async (t) => {
  const user = await createUser()
  const bad = { body: { role: 'owner' } }
  isProblem(t, await call('PATCH', `/v1/users/${user.id}`, bad), 401, 'invalid-credential')
  const reader = await createApiKey(user.account, 'users:read')
  const unscoped = await call('PATCH', `/v1/users/${user.id}`, { as: reader, ...bad })
  isProblem(t, unscoped, 403, 'insufficient-scope')
  const answer = await call('PATCH', `/v1/users/${UNKNOWN}`, { as: asBackEnd(user), ...bad })
  t.same(pointersOf(isProblem(t, answer, 400, 'invalid-request')), ['/role'], 'and 400 before 404')
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
