/**
 * The real service on a database of the test's own, with a clock that the test moves, and functions for
 * the requests of a front end, a back end and an operator. Codes come only from rfc6238.ts.
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
import { template } from '../../src/data/engine/statements.ts'
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
/** An id that does not exist. */
export const UNKNOWN = '0198c0de-7a51-7cc2-9a3b-5b1d0c4f2e11'
const PERIOD_SECONDS = 30
const FAR_MS = 10 * 60_000
/** No test may depend on how fast the machine is, except a test of a timeout. */
const FAR_TIMEOUTS: Timeouts = {
  answerMs: FAR_MS,
  redisMs: FAR_MS,
  providerMs: FAR_MS,
  stalledMs: FAR_MS,
  lateBodyMs: FAR_MS
}

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
  /** The environment, in addition to keys and issuer. */
  env?: NodeJS.ProcessEnv
  /** Listens on a real socket, which the functions for requests then use. */
  listen?: boolean
  /** For a test of the timeouts. */
  timeouts?: Partial<Timeouts>
  /** The clock of the database: by default the one of the test. `real`: its own. */
  databaseClock?: 'real'
  /** A database that is already open, for a second application on it. */
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
  /** Returns the code that the user's app shows at an instant. */
  codeAt(at: Date): string
  /** Returns a code of a later step than all earlier codes. Moves the clock on if no such code is valid yet. */
  nextCode(): string
  /** Returns a step token of purpose `verify`. */
  stepToken(): Promise<string>
  /** Signs in with a code now and returns the access token. */
  accessToken(): Promise<string>
}

export type TestApp = Awaited<ReturnType<typeof startApp>>

/** Starts the service as production builds it, and closes it with the test. */
export async function startApp(t: Test, settings: AppSettings = {}) {
  return startOn(t, settings.database ?? (await openTestDatabase(t)), settings)
}

/** Starts two replicas: two applications with one clock on one database server, each with a warm pool of its own. */
export async function startTwoApps(t: Test, settings: AppSettings = {}) {
  const first = await openTestDatabase(t)
  if (!first.url) throw new Error('two replicas need TEST_DATABASE_URL: give the test ON_SERVER')
  const second = await openTestReplica(t, first.url)
  await Promise.all([first, second].map(warm))
  const shared = { ...settings, clock: settings.clock ?? createClock() }
  return [await startOn(t, first, shared), await startOn(t, second, shared)] as const
}

// A pool opens its connections one by one, so the first requests would run in turn and never race.
async function warm({ prisma }: Database): Promise<void> {
  const sleeps = Array.from({ length: 10 }, () => prisma.$queryRaw`SELECT pg_sleep(0.1)::text`)
  await Promise.all(sleeps)
}

/** Returns the configuration of every test, as `parseConfig` does. */
export function testConfig(env: NodeJS.ProcessEnv = {}): Config {
  return parseConfig(readEnvironment(testEnvironment(env)))
}

/** Returns the environment of every test. */
export function testEnvironment(env: NodeJS.ProcessEnv = {}): NodeJS.ProcessEnv {
  return {
    NODE_ENV: 'test',
    MASTER_KEYS: MASTER_KEY,
    OPERATOR_KEY,
    ISSUER,
    // A test is one client that sends many requests. The limits have tests of their own.
    RATE_LIMIT_PER_MINUTE: '1000000',
    RATE_LIMIT_PER_KEY_PER_MINUTE: '1000000',
    RATE_LIMIT_PER_ACCOUNT_PER_MINUTE: '1000000',
    ...env
  }
}

async function startOn(
  t: Test,
  opened: Database,
  { clock = createClock(), databaseClock, env, listen = false, timeouts = {} }: AppSettings
) {
  const clockOfTest = template`${() => clock.now()}::timestamptz`
  const database = databaseClock ? opened : { ...opened, clock: clockOfTest }
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

// Mails go to this folder if a test has no mailbox. The service creates it with the first mail.
function throwAwayFolder(t: Test): string {
  const folder = join(tmpdir(), `twostep-${randomBytes(6).toString('hex')}`)
  t.teardown(() => rm(folder, { recursive: true, force: true }))
  return folder
}

/** Returns the functions for requests to a service in another process, on the clock of the machine. */
export function verbsOver(baseUrl: string) {
  return verbsBy(callsOver(baseUrl))
}

/** Returns the same functions for a test that chooses the replica of each call. */
export function verbsBy(call: Caller) {
  return verbs(call, { ...createClock(), now: () => new Date() })
}

function clientOf(url: string): Client<paths> {
  return createClient<paths>({ baseUrl: url })
}

function verbs(call: Caller, clock: Clock) {
  let made = 0
  let home: Promise<TestAccount> | undefined

  /** Returns the body of a success. A test that expects another status uses `call`. */
  async function done<Body>(answer: Promise<Answer>): Promise<Body> {
    const { statusCode, body } = await answer
    if (statusCode >= 200 && statusCode < 300) return JSON.parse(body)
    throw new Error(`unexpected status ${statusCode}: ${body}`)
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

  /** Returns the account of the users that are created without an account. */
  function homeAccount(): Promise<TestAccount> {
    home ??= createAccount()
    return home
  }

  /** Creates an API key of the account with these scopes and no others. */
  async function createApiKey(account: TestAccount, ...scopes: string[]): Promise<string> {
    const body = { accountId: account.id, name: scopes.join(' ').slice(0, 100), scopes }
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
   * Returns the token of a first step: an access token, or a step token if a second step is required. Uses an
   * assertion from the account's back end, which hashes no password, so many tokens take little time.
   */
  async function assertedToken({ account, id: userId }: TestUser): Promise<string> {
    const body = { userId, firstFactor: 'pwd' }
    const signIn = await done<SignIn>(
      call('POST', '/v1/login/assertion', { as: account.apiKey, body })
    )
    return signIn.status === 'authenticated' ? signIn.accessToken : signIn.stepToken
  }

  /** Creates a user whose app was set up a minute ago, so that all current codes are unused. */
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
    // The oldest code that is still accepted, so that the current code stays unused.
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

  /** Changes the account's policy, as its back end does. */
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
    /** Returns the code that an app with this secret shows at an instant. */
    codeAt: (secret: string, at: Date) => codeAt({ secret }, at)
  }
}
