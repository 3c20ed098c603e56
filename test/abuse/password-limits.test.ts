// S6, S20: limits on passwords. A wait belongs to one user at one address, so every test uses its own addresses.
import t from 'tap'
import { CONCURRENT_HASHES_MAX } from '../../src/crypto/password-hashing.ts'
import { ON_SERVER, startApp, type TestUser } from '../support/app.ts'
import type { Answer, Call } from '../support/calls.ts'
import { tally, verdictOf } from '../support/guesses.ts'
import { isProblem } from '../support/problems.ts'

const { clock, ...service } = await startApp(t, { env: { TRUSTED_PROXIES: '127.0.0.1' } })
const account = await service.createAccount()

// The counters of one process read this clock only. So no wait depends on how fast the machine is.
let nowMs = Date.now()
t.intercept(Date, 'now', { value: () => nowMs })

/** Ends a wait of this many seconds. */
function pass(seconds: number): void {
  nowMs += seconds * 1000
}

let addresses = 0
/** Returns an address that no request has come from. */
function newAddress(): string {
  addresses += 1
  return `198.51.100.${addresses}`
}

const from = (address: string): Call => ({ headers: { 'x-forwarded-for': address } })

/** Sends the requests one after the other. */
async function ask(count: number, request: () => Promise<Answer>): Promise<Answer[]> {
  const answers: Answer[] = []
  for (let index = 0; index < count; index += 1) answers.push(await request())
  return answers
}

const WRONG_PASSWORD = 'wrong horse, wrong battery'

/** Signs in by password from an address. */
function signIn(user: Pick<TestUser, 'account' | 'email'>, password: string, address: string) {
  const body = { account: user.account.slug, email: user.email, password }
  return service.call('POST', '/v1/login', { body, ...from(address) })
}

t.test(
  'S6: 429: after failed passwords a user waits, but only at that address',
  ON_SERVER,
  async (t) => {
    const [user, other] = [
      await service.createUser({ account }),
      await service.createUser({ account })
    ]
    const address = newAddress()
    const fail = () => signIn(user, WRONG_PASSWORD, address)
    t.same(
      tally(await ask(4, fail)),
      { '401 invalid-credentials': 4 },
      'three failures without a wait, and the first with one'
    )
    for (const seconds of [1, 2, 4]) {
      for (const password of [user.password, WRONG_PASSWORD]) {
        const early = await signIn(user, password, address)
        isProblem(t, early, 429, 'too-many-attempts')
        const wait = Number(early.headers['retry-after'])
        t.equal(wait, seconds)
      }
      // Neither the same user at another address nor another user at this address has to wait.
      t.equal(verdictOf(await signIn(user, user.password, newAddress())), '200')
      t.equal(verdictOf(await signIn(other, other.password, address)), '200')
      if (seconds === 4) break
      pass(seconds)
      t.equal(verdictOf(await fail()), '401 invalid-credentials')
    }
  }
)

t.test(
  'S6: right passwords are never counted, and are accepted after the wait',
  ON_SERVER,
  async (t) => {
    const user = await service.createUser({ account })
    const address = newAddress()
    const succeed = () => signIn(user, user.password, address)
    t.same(tally(await ask(12, succeed)), { '200': 12 })
    t.same(tally(await ask(4, () => signIn(user, WRONG_PASSWORD, address))), {
      '401 invalid-credentials': 4
    })
    t.equal(verdictOf(await succeed()), '429 too-many-attempts')
    pass(1)
    t.same(tally(await ask(6, succeed)), { '200': 6 })
  }
)

t.test(
  'S6: 200: an e-mail address in capitals signs in, and the delay counts it as the same user',
  ON_SERVER,
  async (t) => {
    const user = await service.createUser({ account })
    const address = newAddress()
    const loud = { ...user, email: user.email.toUpperCase() }
    for (const spelling of [user, loud, user, loud]) {
      t.equal(verdictOf(await signIn(spelling, WRONG_PASSWORD, address)), '401 invalid-credentials')
    }
    t.equal(verdictOf(await signIn(loud, user.password, address)), '429 too-many-attempts')
    t.equal(verdictOf(await signIn(loud, user.password, newAddress())), '200')
  }
)

t.test('S6: 429: twenty concurrent passwords do not bypass the wait', ON_SERVER, async (t) => {
  const user = await service.createUser({ account })
  const address = newAddress()
  // Four are judged before the first wait, and at most one more for each hash that is running at that moment.
  const most = 4 + CONCURRENT_HASHES_MAX
  const passwords = [...Array<string>(19).fill(WRONG_PASSWORD), user.password]
  const answers = await Promise.all(passwords.map((one) => signIn(user, one, address)))
  const { '401 invalid-credentials': judged = 0, ...others } = tally(answers)
  t.ok(judged >= 4 && judged <= most, `${judged} were judged`)
  t.same(others, { '429 too-many-attempts': 20 - judged }, 'the right password was not judged')
  for (const answer of answers.filter(({ statusCode }) => statusCode === 429)) {
    isProblem(t, answer, 429, 'too-many-attempts')
  }
  t.equal(verdictOf(await signIn(user, user.password, newAddress())), '200')
})

t.test(
  'S6: 429: twenty concurrent guesses of the current password do not bypass the wait',
  ON_SERVER,
  async (t) => {
    const user = await service.enrolledUser({ account })
    const as = await user.accessToken()
    const address = newAddress()
    const guess = (currentPassword: string) =>
      service.call('PATCH', `/v1/users/${user.id}`, {
        as,
        body: { password: 'another horse, another battery', currentPassword },
        ...from(address)
      })
    const answers = await Promise.all(Array.from({ length: 20 }, () => guess(WRONG_PASSWORD)))
    const { '422 password-rejected': judged = 0, ...others } = tally(answers)
    t.ok(judged >= 4 && judged <= 4 + CONCURRENT_HASHES_MAX, `${judged} were judged`)
    t.same(others, { '429 too-many-attempts': 20 - judged })
  }
)

t.test(
  'S6: 429: guesses at sign-in and guesses of the current password are counted together',
  ON_SERVER,
  async (t) => {
    const user = await service.enrolledUser({ account })
    const as = await user.accessToken()
    const address = newAddress()
    const guess = () =>
      service.call('PATCH', `/v1/users/${user.id}`, {
        as,
        body: { password: 'another horse, another battery', currentPassword: WRONG_PASSWORD },
        ...from(address)
      })
    const guesses = [
      await guess(),
      await signIn(user, WRONG_PASSWORD, address),
      await guess(),
      await signIn(user, WRONG_PASSWORD, address)
    ]
    t.same(tally(guesses), { '422 password-rejected': 2, '401 invalid-credentials': 2 })
    t.equal(verdictOf(await guess()), '429 too-many-attempts')
    t.equal(verdictOf(await signIn(user, user.password, address)), '429 too-many-attempts')
  }
)

t.test('S20: 401, 429: no response reveals whether a user exists', ON_SERVER, async (t) => {
  const disabled = await service.createUser({ account })
  const change = { as: account.apiKey, body: { disabled: true } }
  await service.call('PATCH', `/v1/users/${disabled.id}`, change)
  const unknown = { account, email: 'unknown@example.com' }
  const inNoAccount = { account: { ...account, slug: 'no-such-account' }, email: unknown.email }
  const enrolled = await service.enrolledUser({ account })
  const admin = await service.createUser({ account, role: 'admin' })
  const withoutPassword = { account, email: 'asserted@example.com' }
  const newUser = { as: account.apiKey, body: { email: withoutPassword.email } }
  await service.call('POST', '/v1/users', newUser)

  const first = await historyOf(inNoAccount, disabled.password)
  const others = [
    await historyOf(unknown, disabled.password),
    await historyOf(await service.createUser({ account }), WRONG_PASSWORD),
    await historyOf(enrolled, WRONG_PASSWORD),
    await historyOf(admin, WRONG_PASSWORD),
    await historyOf(disabled, disabled.password),
    await historyOf(disabled, WRONG_PASSWORD),
    await historyOf(withoutPassword, WRONG_PASSWORD)
  ]
  t.same(
    first.map(({ verdict }) => verdict),
    [
      ...Array<string>(4).fill('401 invalid-credentials'),
      ...Array<string>(2).fill('429 too-many-attempts')
    ]
  )
  for (const other of others) t.same(other, first)
})

/** Signs in six times in a row. Returns everything in the responses that could distinguish users. */
async function historyOf(user: Pick<TestUser, 'account' | 'email'>, password: string) {
  const address = newAddress()
  const answers = await ask(6, () => signIn(user, password, address))
  return answers.map((answer) => {
    const { requestId, ...problem } = answer.json()
    const {
      'x-request-id': _id,
      date: _date,
      'ratelimit-reset': _reset,
      ...headers
    } = answer.headers
    return { verdict: verdictOf(answer), problem, headers }
  })
}
