/**
 * The real service on a database of the test's own, with a clock that the test moves, and the verbs
 * that a front end, a back end and an operator have. Codes come from rfc6238.ts alone.
 */
import { randomBytes } from 'node:crypto'
import { rm } from 'node:fs/promises'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import createClient, { type Client } from 'openapi-fetch'
import type { Test } from 'tap'
import { buildApp } from '../../src/app.ts'
import type { Database } from '../../src/data/engine/database.ts'
import type { Timeouts } from '../../src/parts.ts'
import { type Config, parseConfig } from '../../src/settings/config.ts'
import { readEnvironment } from '../../src/settings/environment.ts'
import { createLogger } from '../../src/settings/logging.ts'
import { type Answer, type Caller, callsInto, callsOver, heldToContract } from './calls.ts'
import type { components, paths } from './client.d.ts'
import { type Clock, createClock } from './clock.ts'
import { openTestDatabase, openTestReplica, type TestDatabase } from './database.ts'
import { codeAt } from './rfc6238.ts'

export const ISSUER = 'https://auth.twostep.test'
export const OPERATOR_KEY = 'tso_operator0001_Vw3yQ8mZ1kP6tR0bN4xL7cJ2hF5gD9sA_eU-iO8uYq1'
export const MASTER_KEY = 'test:3q2+7wABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhs='
export const PASSWORD = 'correct horse battery staple'
/** An id that nobody and nothing has. */
export const UNKNOWN = '0198c0de-7a51-7cc2-9a3b-5b1d0c4f2e11'
const PERIOD_SECONDS = 30
const FAR_MS = 10 * 60_000
/** No test may depend on how fast the machine is, except a test of a timeout. */
const FAR_TIMEOUTS: Timeouts = { answerMs: FAR_MS, redisMs: FAR_MS, providerMs: FAR_MS }

/** Options of a test that needs a database server, as two replicas do. */
export const ON_SERVER = {
  skip: process.env['TEST_DATABASE_URL'] ? false : 'needs TEST_DATABASE_URL'
}

/** Options of a test that is only worth its time on the embedded database. */
export const ON_EMBEDDED = {
  skip: process.env['TEST_DATABASE_URL'] ? 'runs without TEST_DATABASE_URL' : false
}

type Schemas = components['schemas']
export type SignIn = Schemas['SignIn']
type User = Schemas['User']

export interface AppSettings {
  clock?: Clock
  /** What the environment says, beside keys and issuer. */
  env?: NodeJS.ProcessEnv
  /** Answers on a real socket; the verbs use it then. */
  listen?: boolean
  /** For a test that is about them. */
  timeouts?: Partial<Timeouts>
  /** One that is open already, for a second application on it. */
  database?: TestDatabase
}

export interface TestAccount {
  id: string
  slug: string
  name: string
  audience: string
  /** The first API key, which has every scope. */
  apiKey: string
}

export interface TestUser {
  id: string
  account: TestAccount
  email: string
  password: string
}

export interface EnrolledUser extends TestUser {
  authenticatorId: string
  /** The secret in base32. */
  secret: string
  recoveryCodes: string[]
  /** What the user's app shows at an instant. */
  codeAt(at: Date): string
  /** A code of a later step than any asked for before; moves the clock on when there is none now. */
  nextCode(): string
  /** A step token of purpose `verify`. */
  stepToken(): Promise<string>
  /** An access token of a sign-in with a code just now. */
  accessToken(): Promise<string>
}

export type TestApp = Awaited<ReturnType<typeof startApp>>

/** The service as production builds it, gone with the test. */
export async function startApp(t: Test, settings: AppSettings = {}) {
  return startOn(t, settings.database ?? (await openTestDatabase(t)), settings)
}

/** Two replicas: two applications, each with a warm pool of its own, on one database server, at one time. */
export async function startTwoApps(t: Test, settings: AppSettings = {}) {
  const first = await openTestDatabase(t)
  if (!first.url) throw new Error('two replicas need TEST_DATABASE_URL: give the test ON_SERVER')
  const second = await openTestReplica(t, first.url)
  await Promise.all([first, second].map(warm))
  const shared = { ...settings, clock: settings.clock ?? createClock() }
  return [await startOn(t, first, shared), await startOn(t, second, shared)] as const
}

// A pool opens its connections one by one, so the first racers would take turns and never race.
async function warm({ prisma }: Database): Promise<void> {
  const sleeps = Array.from({ length: 10 }, () => prisma.$queryRaw`SELECT pg_sleep(0.1)::text`)
  await Promise.all(sleeps)
}

/** The configuration of every test, as `parseConfig` returns it. */
export function testConfig(env: NodeJS.ProcessEnv = {}): Config {
  return parseConfig(readEnvironment(testEnvironment(env)))
}

/** What a test sets in the environment. */
export function testEnvironment(env: NodeJS.ProcessEnv = {}): NodeJS.ProcessEnv {
  return {
    NODE_ENV: 'test',
    MASTER_KEYS: MASTER_KEY,
    OPERATOR_KEY,
    ISSUER,
    // A test is one client that asks for much; what limits do is tested where limits are.
    RATE_LIMIT_PER_MINUTE: '1000000',
    ...env
  }
}

async function startOn(
  t: Test,
  database: Database,
  { clock = createClock(), env, listen = false, timeouts = {} }: AppSettings
) {
  const folder = throwAwayFolder(t)
  const config = testConfig({ DATABASE_URL: `pglite:${folder}`, ...env })
  const logged: string[] = []
  const logger = createLogger('trace', { write: (line: string) => logged.push(line) })
  const app = await buildApp({
    config,
    database,
    now: clock.now,
    logger,
    timeouts: { ...FAR_TIMEOUTS, ...timeouts }
  })
  t.teardown(() => app.close())
  if (listen) await app.listen({ port: 0, host: '127.0.0.1' })
  const url = listen ? `http://127.0.0.1:${(app.server.address() as AddressInfo).port}` : ''
  const call = heldToContract(app, listen ? callsOver(url) : callsInto(app))
  return {
    app,
    config,
    database,
    clock,
    /** The base URL; empty unless the service listens. */
    url,
    /** The client that a front end generates from openapi.yaml; for a service that listens. */
    client: clientOf(url),
    /** Everything that the service has logged. */
    logged,
    ...verbs(call, clock)
  }
}

// Where mails go when a test has no mailbox. The folder is made with the first of them.
function throwAwayFolder(t: Test): string {
  const folder = join(tmpdir(), `twostep-${randomBytes(6).toString('hex')}`)
  t.teardown(() => rm(folder, { recursive: true, force: true }))
  return folder
}

/** The verbs on a service that runs elsewhere, on the clock of the machine. */
export function verbsOver(baseUrl: string) {
  return verbsBy(callsOver(baseUrl))
}

/** The same where the test itself decides which replica a call goes to. */
export function verbsBy(call: Caller) {
  return verbs(call, { ...createClock(), now: () => new Date() })
}

function clientOf(url: string): Client<paths> {
  return createClient<paths>({ baseUrl: url })
}

function verbs(call: Caller, clock: Clock) {
  let made = 0
  let home: Promise<TestAccount> | undefined

  /** The body of a success; a test that expects another status uses `call`. */
  async function done<Body>(answer: Promise<Answer>): Promise<Body> {
    const { statusCode, body } = await answer
    if (statusCode >= 200 && statusCode < 300) return JSON.parse(body)
    throw new Error(`answered ${statusCode}: ${body}`)
  }

  async function createAccount(body: { slug?: string; name?: string; audience?: string } = {}) {
    made += 1
    const account = await done<Omit<TestAccount, 'apiKey'> & { apiKey: { key: string } }>(
      call('POST', '/v1/accounts', {
        as: OPERATOR_KEY,
        body: { slug: `acme-${made}`, name: `Acme ${made}`, ...body }
      })
    )
    return { ...account, apiKey: account.apiKey.key } satisfies TestAccount
  }

  /** The account of users that are made without naming one. */
  function homeAccount(): Promise<TestAccount> {
    home ??= createAccount()
    return home
  }

  /** A key of the account with these scopes and no other. */
  async function createApiKey(account: TestAccount, ...scopes: string[]): Promise<string> {
    const body = { accountId: account.id, name: scopes.join(' '), scopes }
    const { key } = await done<{ key: string }>(
      call('POST', '/v1/api-keys', { as: OPERATOR_KEY, body })
    )
    return key
  }

  async function createUser({
    account,
    ...given
  }: {
    account?: TestAccount
    email?: string
    role?: 'member' | 'admin'
  } = {}): Promise<TestUser> {
    made += 1
    const owner = account ?? (await homeAccount())
    const body = { email: `user${made}@example.com`, password: PASSWORD, ...given }
    const { id } = await done<User>(call('POST', '/v1/users', { as: owner.apiKey, body }))
    return { id, account: owner, email: body.email, password: PASSWORD }
  }

  function login({ account, email, password }: Pick<TestUser, 'account' | 'email' | 'password'>) {
    return call('POST', '/v1/login', { body: { account: account.slug, email, password } })
  }

  function verify(token: string, code: string) {
    return call('POST', '/v1/verify', { as: token, body: { code } })
  }

  function recover(token: string, recoveryCode: string) {
    return call('POST', '/v1/verify', { as: token, body: { recoveryCode } })
  }

  async function newRecoveryCodes(accessToken: string): Promise<string[]> {
    const { recoveryCodes } = await done<{ recoveryCodes: string[] }>(
      call('POST', '/v1/users/me/recovery-codes', { as: accessToken })
    )
    return recoveryCodes
  }

  function enroll(token: string, body: object = {}) {
    return call('POST', '/v1/enroll', { as: token, body })
  }

  function confirm(token: string, authenticatorId: string, code: string) {
    return call('POST', '/v1/enroll/confirm', { as: token, body: { authenticatorId, code } })
  }

  /**
   * The token that a first step leads to: an access token, or a step token where a step is owed. By the word of
   * the account's back end, since no password is hashed for it and many are had quickly.
   */
  async function assertedToken({ account, id: userId }: TestUser): Promise<string> {
    const body = { userId, firstFactor: 'pwd' }
    const signIn = await done<SignIn>(
      call('POST', '/v1/login/assertion', { as: account.apiKey, body })
    )
    return signIn.status === 'authenticated' ? signIn.accessToken : signIn.stepToken
  }

  /** A user whose app was set up a minute ago, so that the codes of now are all unused. */
  async function enrolledUser(options: Parameters<typeof createUser>[0] = {}) {
    return enrolled(await createUser(options))
  }

  async function enrolled(user: TestUser): Promise<EnrolledUser> {
    const token = await assertedToken(user)
    const { authenticatorId, setupKey: secret } = await done<{
      authenticatorId: string
      setupKey: string
    }>(enroll(token))
    const stepAgo = (steps: number) =>
      new Date(clock.now().getTime() - steps * PERIOD_SECONDS * 1000)
    // The oldest code that is still taken, so that the one of this moment stays unused.
    let spentUntil = stepAgo(1)
    const { recoveryCodes = [] } = await done<Schemas['Authenticated']>(
      confirm(token, authenticatorId, codeAt({ secret }, spentUntil))
    )
    const codeOf = (at: Date) => {
      if (at > spentUntil) spentUntil = at
      return codeAt({ secret }, at)
    }
    const nextCode = () => {
      const next = new Date(spentUntil.getTime() + PERIOD_SECONDS * 1000)
      if (next > stepAgo(-1)) clock.advance({ seconds: PERIOD_SECONDS })
      return codeOf(next < stepAgo(1) ? clock.now() : next)
    }
    const stepToken = () => assertedToken(user)
    return {
      ...user,
      authenticatorId,
      secret,
      recoveryCodes,
      codeAt: codeOf,
      nextCode,
      stepToken,
      accessToken: async () => {
        const signIn = done<Schemas['Authenticated']>(verify(await stepToken(), nextCode()))
        return (await signIn).accessToken
      }
    }
  }

  /** Turns the account's demand for two-factor on or off, as its back end does. */
  async function changePolicy({ apiKey: as }: TestAccount, body: object): Promise<void> {
    const { headers } = await call('GET', '/v1/policy', { as })
    const ifMatch = { 'if-match': String(headers['etag']) }
    await done(call('PATCH', '/v1/policy', { as, body, headers: ifMatch }))
  }

  return {
    call,
    createAccount,
    homeAccount,
    createApiKey,
    createUser,
    enrolledUser,
    enrolled,
    login,
    verify,
    recover,
    newRecoveryCodes,
    enroll,
    confirm,
    changePolicy,
    assertedToken,
    /** What the app with this secret shows at an instant. */
    codeAt: (secret: string, at: Date) => codeAt({ secret }, at)
  }
}
