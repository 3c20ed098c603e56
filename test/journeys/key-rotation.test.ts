// Every key is rotated while users sign in, without a failed request: with two replicas on a database server, or with one
// process on the embedded database.
import { EventEmitter, once } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import { decodeProtectedHeader } from 'jose'
import t, { type Test } from 'tap'
import { listKeys } from '../../src/commands/keys/list.ts'
import { rotateMaster } from '../../src/commands/keys/rotate-master.ts'
import { rotateSigning } from '../../src/commands/keys/rotate-signing.ts'
import { ACCESS_TOKEN_TTL_SECONDS } from '../../src/core/claims.ts'
import {
  PUBLISHED_BEFORE_SIGNING_SECONDS,
  TRUSTED_AFTER_SIGNING_SECONDS
} from '../../src/core/signing-key-schedule.ts'
import type { Database } from '../../src/data/engine/database.ts'
import { type EnrolledUser, ON_SERVER, startApp, type TestApp, testConfig } from '../support/app.ts'
import { type Clock, createClock } from '../support/clock.ts'
import { openTestDatabase, openTestReplica } from '../support/database.ts'
import { MAIL_WAITS } from '../support/records.ts'

const K1 = 'k1:3q2+7wABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhs='
const K2 = 'k2:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8='
const ringOf = (keys: string) => testConfig({ MASTER_KEYS: keys }).masterKeys
const USERS = 4

/** Starts replicas behind a load balancer, and users who sign in continuously. */
async function startDeployment(t: Test, masterKeys: string) {
  const clock = createClock()
  const databases = await openDatabases(t)
  const [{ prisma }] = databases
  const start = (database: Database, ring: string) =>
    startApp(t, { database, clock, env: { ...MAIL_WAITS, MASTER_KEYS: ring } })
  const live = await Promise.all(databases.map((database) => start(database, masterKeys)))
  let turn = 0
  const next = () => live[turn++ % live.length] as TestApp
  const traffic = await startTraffic({ clock, next, live })

  return {
    prisma,
    clock,
    live,
    next,
    ...traffic,

    /** Replaces the replicas one by one. A replica gets no new requests before it stops, and finishes the running ones. */
    async restartAll(ring: string): Promise<void> {
      for (const [index, database] of databases.entries()) {
        const former = live[index]
        live[index] = await start(database, ring)
        await traffic.roundEnds()
        await former?.app.close()
      }
      await traffic.roundEnds()
    }
  }
}

async function openDatabases(t: Test): Promise<[Database, ...Database[]]> {
  const first = await openTestDatabase(t)
  if (!first.url) return [first]
  const second = await openTestReplica(t, first.url ?? '')
  return [first, second]
}

interface Deployment {
  clock: Clock
  next: () => TestApp
  live: TestApp[]
}

/** Starts rounds in which every user signs in once. A round is half a minute of their clock, so each has a new code. */
async function startTraffic({ clock, next, live }: Deployment) {
  const users: EnrolledUser[] = []
  const { enrolledUser } = next()
  for (let count = 0; count < USERS; count += 1) users.push(await enrolledUser())
  const failures: string[] = []
  const issued: { token: string; kid: string; expiresAt: number }[] = []
  const validTokens = () => issued.filter(({ expiresAt }) => expiresAt > clock.now().getTime())
  let rounds = 0
  let signIns = 0

  function expect(what: string, isSo: boolean): void {
    if (!isSo) failures.push(`round ${rounds}: ${what}`)
  }

  async function signIn(user: EnrolledUser): Promise<void> {
    const stepToken = await next().assertedToken(user)
    const answer = await next().verify(stepToken, user.codeAt(clock.now()))
    expect(`verify ${answer.statusCode}`, answer.statusCode === 200)
    const token = answer.json().accessToken
    const expiresAt = clock.now().getTime() + ACCESS_TOKEN_TTL_SECONDS * 1000
    const { kid = '' } = decodeProtectedHeader(token)
    issued.push({ token, kid, expiresAt })
    await isAccepted(user, token)
    signIns += 1
  }

  async function isAccepted({ account }: EnrolledUser, token: string): Promise<void> {
    const me = await next().call('GET', '/v1/users/me', { as: token })
    expect(`me ${me.statusCode}`, me.statusCode === 200)
    const asked = { as: account.apiKey, body: { token } }
    const introspected = await next().call('POST', '/v1/introspect', asked)
    expect('introspection', introspected.json().active === true)
  }

  async function everyKidIsPublished(replica: TestApp): Promise<void> {
    const kids = await kidsOf(replica)
    for (const { kid } of validTokens()) expect(`no ${kid} in the JWKS`, kids.includes(kid))
  }

  async function round(): Promise<void> {
    clock.advance({ seconds: 30 })
    const [oldest] = validTokens()
    const [user] = users
    const checks = oldest && user ? [isAccepted(user, oldest.token)] : []
    const replicas = [...live]
    await Promise.all([...users.map(signIn), ...checks, ...replicas.map(everyKidIsPublished)])
    rounds += 1
  }

  const progress = new EventEmitter()
  let isOver = false
  let isUnderWay = false
  async function run(): Promise<void> {
    while (!isOver) {
      isUnderWay = true
      await round().catch((error) => void failures.push(`round ${rounds}: ${error}`))
      isUnderWay = false
      progress.emit('end')
      // Lets the load balancer, the operator and the background jobs run.
      await sleep(20)
    }
  }
  const running = run()

  return {
    users,
    validTokens,
    /** Resolves right after the next whole round, while no request is running. */
    async roundEnds(): Promise<void> {
      if (isUnderWay) await once(progress, 'end')
      await once(progress, 'end')
    },
    /** Stops the rounds. Asserts that no sign-in failed. */
    async stop(t: Test): Promise<void> {
      isOver = true
      await running
      t.same(failures, [])
      t.ok(rounds >= 8 && signIns === rounds * USERS, `${signIns} sign-ins in ${rounds} rounds`)
    }
  }
}

async function kidsOf({ call }: TestApp): Promise<string[]> {
  const { keys } = (await call('GET', '/.well-known/jwks.json')).json()
  return keys.map(({ kid }: { kid: string }) => kid)
}

/** Polls until the condition holds. */
async function isSoon(t: Test, what: string, isSo: () => Promise<boolean>): Promise<void> {
  while (!(await isSo())) await sleep(50)
  t.pass(what)
}

t.test(
  'a signing key is published, signs, and retires while users sign in',
  ON_SERVER,
  async (t) => {
    const deployment = await startDeployment(t, K1)
    const { prisma, clock, live, next, validTokens, roundEnds, stop } = deployment
    const all = async (isSo: (kids: string[]) => boolean) =>
      (await Promise.all(live.map(kidsOf))).every(isSo)
    /** Moves the keys into the past, as if the clock of the database had advanced. */
    const elapse = (seconds: number) =>
      prisma.$executeRaw`UPDATE "SigningKey" SET "signsFrom" = "signsFrom" - make_interval(secs => ${seconds})`
    const [former = ''] = await kidsOf(next())

    const options = { prisma, masterKeys: ringOf(K1) }
    const { lines } = await rotateSigning(options)
    const kid = /[\w-]{43}/.exec(lines[0] ?? '')?.[0] ?? ''
    await isSoon(t, 'every replica publishes the new key after the current one', () =>
      all((kids) => kids[0] === former && kids[1] === kid)
    )
    await roundEnds()
    t.ok(
      validTokens().every((token) => token.kid === former),
      'no replica signs with it'
    )

    await elapse(PUBLISHED_BEFORE_SIGNING_SECONDS)
    await isSoon(t, 'every replica signs with it and still publishes the former key', () =>
      all((kids) => kids[0] === kid && kids[1] === former)
    )
    await isSoon(t, 'tokens of both keys are valid', async () => {
      const kids = validTokens().map((token) => token.kid)
      return kids.includes(former) && kids.at(-1) === kid
    })

    await roundEnds()
    clock.advance({ seconds: ACCESS_TOKEN_TTL_SECONDS })
    await elapse(TRUSTED_AFTER_SIGNING_SECONDS)
    await isSoon(t, 'the former key retires', () => all((kids) => kids.join() === kid))
    await isSoon(t, 'its row is deleted', async () => (await prisma.signingKey.count()) === 1)
    await stop(t)

    const [leaked] = validTokens().slice(-1)
    await rotateSigning(options, { isUrgent: true })
    await isSoon(t, 'every replica stops trusting a leaked key', () =>
      all((kids) => !kids.includes(kid))
    )
    for (const { call } of live) {
      const me = await call('GET', '/v1/users/me', { as: leaked?.token ?? '' })
      t.equal(me.statusCode, 401)
    }
    const [user] = deployment.users
    t.ok(await user?.accessToken())
  }
)

t.test(
  'the master key is rotated with a rolling restart for each change of the ring',
  ON_SERVER,
  async (t) => {
    const { prisma, clock, next, users, restartAll, roundEnds, stop } = await startDeployment(t, K1)
    await restartAll(`${K1},${K2}`)
    await restartAll(`${K2},${K1}`)
    const options = { prisma, masterKeys: ringOf(`${K2},${K1}`) }
    const { failure } = await rotateMaster(options, { print: () => {}, pageSize: 2 })
    t.equal(failure, null)
    await roundEnds()
    clock.advance({ minutes: 10 })
    t.match((await listKeys(options)).lines[2], /^k1( +0){5} +may be dropped/)
    await restartAll(K2)
    await roundEnds()
    await stop(t)
    for (const { recoveryCodes, ...user } of users) {
      const recovered = await next().recover(
        await next().assertedToken(user),
        recoveryCodes[0] ?? ''
      )
      t.equal(recovered.statusCode, 200, 'an earlier recovery code still works')
    }
  }
)
