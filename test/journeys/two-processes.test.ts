// The built service as it is deployed: several processes on one database, and `kill -9` during requests.
import { createRemoteJWKSet, jwtVerify } from 'jose'
import t, { type Test } from 'tap'
import { openDatabase } from '../../src/data/engine/database.ts'
import { ISSUER, ON_SERVER, OPERATOR_KEY, type TestAccount, verbsOver } from '../support/app.ts'
import type { Answer } from '../support/calls.ts'
import { createEmptyDatabase, createTestDatabase } from '../support/database.ts'
import { atOnce } from '../support/replicas.ts'
import { codeAt } from '../support/rfc6238.ts'
import { type Server, startServer } from '../support/server.ts'

type Verbs = ReturnType<typeof verbsOver>

const PERIOD_MS = 30_000
/** Each user signs in with a code and with three recovery codes. */
const USERS = 50
const AT_ONCE = 10
const ANSWERS_BEFORE_KILL = 100

t.test('two processes on one new database are one service', ON_SERVER, async (t) => {
  const url = await createEmptyDatabase(t, process.env['TEST_DATABASE_URL'] ?? '')
  const [one, two] = await Promise.all(
    [1, 2].map(() => startServer(t, { DATABASE_URL: url, LOG_LEVEL: 'info' }))
  )
  if (!one || !two) throw new Error('a process is missing')
  const migrated = [one, two].filter(({ output }) => output().includes('migrations applied'))
  t.equal(migrated.length, 1, 'one process migrates while the other one waits')

  const [here, there] = [verbsOver(one.url), verbsOver(two.url)]
  const keys = await Promise.all(
    [here, there].map(({ call }) => call('GET', '/.well-known/jwks.json'))
  )
  t.equal(keys[0]?.body, keys[1]?.body)

  const user = await enrolledUser(here, await here.createAccount())
  const code = nextCode(user)
  const signedIn = await there.verify(await here.assertedToken(user), code)
  t.match(signedIn.json(), { status: 'authenticated', reason: 'code_verified' })
  const { accessToken } = signedIn.json()
  const jwks = createRemoteJWKSet(new URL(`${one.url}/.well-known/jwks.json`))
  const { payload } = await jwtVerify(accessToken, jwks, { issuer: ISSUER, typ: 'at+jwt' })
  t.equal(payload.sub, user.id)
  t.equal((await here.call('GET', '/v1/users/me', { as: accessToken })).statusCode, 200)
  const replay = await here.verify(await there.assertedToken(user), code)
  t.equal(replay.statusCode, 422, 'a code that one process accepted is rejected by the other one')

  const disable = { as: user.account.apiKey, body: { disabled: true } }
  await here.call('PATCH', `/v1/users/${user.id}`, disable)
  const revoked = await there.call('GET', '/v1/users/me', { as: accessToken })
  t.equal(revoked.statusCode, 401, 'a user whom one process disabled is rejected by the other one')
})

t.test('kill -9 during two hundred sign-ins loses no confirmed sign-in', ON_SERVER, async (t) => {
  const DATABASE_URL = await createTestDatabase(t)
  const first = await startServer(t, { DATABASE_URL })
  const users = await enrolledUsers(verbsOver(first.url))
  const acts = users.flatMap((user, index) => [
    signInByCode(user),
    ...user.recoveryCodes.slice(0, 3).map((code) => signInByRecoveryCode(user, code)),
    ...(index % 4 === 0 ? [creationOfAccount(index)] : [])
  ])
  await performUntilKilled(acts, verbsOver(first.url), first)
  const confirmed = acts.filter(({ answer }) => answer)
  t.ok(confirmed.length >= ANSWERS_BEFORE_KILL && confirmed.length < acts.length)
  t.same(
    confirmed.filter(({ answer }) => (answer?.statusCode ?? 500) >= 300),
    [],
    'all of them succeeded'
  )

  const second = await startServer(t, { DATABASE_URL })
  const verbs = verbsOver(second.url)
  t.ok(acts.some(({ isSent }) => !isSent))
  // Codes come first, before they expire.
  for (const act of acts.toSorted((one, other) => rankOf(one) - rankOf(other))) {
    if (act.answer) await act.holds(t, verbs)
    if (act.isSent) continue
    const { statusCode } = await act.perform(verbs)
    t.ok(statusCode < 300, 'an act that was never sent still works')
  }
  t.equal(await second.stop(), 0)
  await isWhole(t, DATABASE_URL)
})

interface Enrolled {
  id: string
  account: TestAccount
  email: string
  password: string
  secret: string
  recoveryCodes: string[]
}

/** Creates a user without a password, with an authenticator that was just confirmed. */
async function enrolledUser(verbs: Verbs, account: TestAccount, email = 'ada@example.com') {
  const created = await verbs.call('POST', '/v1/users', { as: account.apiKey, body: { email } })
  const user = { id: created.json().id, account, email, password: '' }
  const token = await verbs.assertedToken(user)
  const { authenticatorId, setupKey: secret } = (await verbs.enroll(token)).json()
  const confirmed = await verbs.confirm(token, authenticatorId, codeAt({ secret }, new Date()))
  const { recoveryCodes } = confirmed.json()
  return { ...user, secret, recoveryCodes } satisfies Enrolled
}

async function enrolledUsers(verbs: Verbs): Promise<Enrolled[]> {
  const account = await verbs.createAccount()
  const users: Enrolled[] = []
  for (let made = 0; made < USERS; made += AT_ONCE) {
    const emailOf = (index: number) => `user${made + index}@example.com`
    const enroll = (index: number) => enrolledUser(verbs, account, emailOf(index))
    users.push(...(await atOnce(AT_ONCE, enroll)))
  }
  return users
}

/** Returns the code of the next time step. It is valid for at least a minute, in which a process can restart. */
function nextCode({ secret }: Enrolled): string {
  return codeAt({ secret }, new Date(Date.now() + PERIOD_MS))
}

interface Act {
  isSent: boolean
  /** The response, or null if it has not arrived or the process ended before. */
  answer: Answer | null
  /** Chooses the code, unless it was chosen already. */
  prepare?(): void
  perform(verbs: Verbs): Promise<Answer>
  /** Asserts that a confirmed act is not lost. */
  holds(t: Test, verbs: Verbs): Promise<void>
}

function rankOf({ prepare }: Act): number {
  return prepare ? 0 : 1
}

function signInByCode(user: Enrolled): Act {
  let code = ''
  const prepare = () => {
    code ||= nextCode(user)
  }
  const perform = async ({ assertedToken, verify }: Verbs) => {
    const stepToken = await assertedToken(user)
    prepare()
    return verify(stepToken, code)
  }
  return { ...onceOnly(perform, 'a confirmed code stays used'), prepare }
}

function signInByRecoveryCode(user: Enrolled, recoveryCode: string): Act {
  return onceOnly(
    async ({ assertedToken, recover }) => recover(await assertedToken(user), recoveryCode),
    'a confirmed recovery code stays used'
  )
}

function onceOnly(perform: Act['perform'], guarantee: string): Act {
  return {
    isSent: false,
    answer: null,
    perform,
    holds: async (t, verbs) => {
      t.equal((await perform(verbs)).statusCode, 422, guarantee)
    }
  }
}

function creationOfAccount(index: number): Act {
  const act: Act = {
    isSent: false,
    answer: null,
    perform: ({ call }) => {
      const body = { slug: `made-${index}`, name: 'Made' }
      return call('POST', '/v1/accounts', { as: OPERATOR_KEY, body })
    },
    holds: async (t, { call }) => {
      const as = act.answer?.json().apiKey.key
      const policy = await call('GET', '/v1/policy', { as })
      t.match(policy.json(), { twoFactor: 'optional' }, 'a confirmed account is complete')
    }
  }
  return act
}

/** Performs the acts, ten at a time, until enough responses have arrived. Then `kill -9` ends the process. */
async function performUntilKilled(acts: Act[], verbs: Verbs, server: Server): Promise<void> {
  const waiting = [...acts]
  let answers = 0
  const perform = async (act: Act) => {
    act.isSent = true
    // Without a response the act may have happened or not.
    act.answer = await act.perform(verbs).catch(() => null)
    if (act.answer) answers += 1
    if (answers === ANSWERS_BEFORE_KILL) await server.kill()
  }
  await atOnce(AT_ONCE, async () => {
    for (let act = waiting.shift(); act && answers < ANSWERS_BEFORE_KILL; act = waiting.shift()) {
      await perform(act)
    }
  })
  await server.kill()
  for (const act of acts) act.prepare?.()
}

/** Asserts that the rows are consistent, independent of the moment at which the process ended. */
async function isWhole(t: Test, url: string): Promise<void> {
  const { prisma, close } = await openDatabase({ url })
  t.teardown(close)
  const accounts = await prisma.account.findMany({ include: { policy: true, apiKeys: true } })
  t.ok(accounts.every(({ policy, apiKeys }) => policy && apiKeys.length === 1))
  const users = await prisma.user.findMany({
    include: { authenticators: true, enrollment: true, recoveryCodes: true, stepTokens: true }
  })
  t.equal(users.length, USERS)
  for (const { authenticators, enrollment, recoveryCodes, stepTokens } of users) {
    t.equal(authenticators.length, 1)
    t.equal(enrollment, null, 'a confirmed enrollment is no longer pending')
    const successes = stepTokens.filter(({ consumedAt }) => consumedAt).length
    const byCode = authenticators.filter(
      ({ confirmedAt, lastUsedAt }) => lastUsedAt && lastUsedAt > confirmedAt
    )
    const byRecoveryCode = 10 - recoveryCodes.length
    t.equal(successes, byCode.length + byRecoveryCode, 'each success has used up its step token')
  }
}
