// Measures the service against a minimal implementation (bench/floor.ts): npm run bench
//
// Needs Linux, a machine without other load, and a PostgreSQL server whose role may create databases (BENCH_DATABASE_URL, or
// the server on 127.0.0.1:5432). Writes docs/benchmark.md, or the file given as an argument.
import { execFileSync } from 'node:child_process'
import { writeFile } from 'node:fs/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import { startFloor, startTwostep } from './deployments.ts'
import { createDatabase, dropDatabase, SERVER_URL } from './fill.ts'
import { OPERATOR_KEY, signStepToken } from './keys.ts'
import { type Measurement, measure } from './load.ts'
import { type Figures, report } from './report.ts'
import { pinned, pinThisProcess, type Server } from './servers.ts'
import { accountIdOf, hashPassword, PASSWORD, userAt } from './users.ts'
import { type Deployment, measureVerify } from './verify.ts'

const ROUNDS = 3
const VERIFICATIONS = 10_000
const FEW = 1000
/** Enough that every request is for a different user: each round takes the next ones, and each system has its own copy. */
const MANY = 200_000
/** A login runs so little JavaScript that fewer logins would not warm up the process. */
const LOGINS = 1000
const ENROLLMENTS = 1500
const PAGES = 600
const IDLE_SECONDS = 10

pinThisProcess()
const passwordHash = await hashPassword()
const few = await createDeployment('twostep_bench_few', FEW, 0)
const many = await createDeployment('twostep_bench_many', MANY, 2 * ROUNDS * ENROLLMENTS)
const figures: Figures = {
  floorFew: [],
  twostepFew: [],
  floorMany: [],
  twostepMany: [],
  twostepRedis: [],
  login: [],
  floorLogin: [],
  argon2: [],
  enroll: [],
  roster: [],
  startMs: [],
  idleMiB: []
}
try {
  // Interleaved, so that a drift of the machine's speed affects all measurements equally.
  for (let round = 0; round < ROUNDS; round += 1) await measureRound(round)
  const text = report(figures, {
    rounds: ROUNDS,
    verifications: VERIFICATIONS,
    few: FEW,
    many: MANY
  })
  await writeFile(process.argv[2] ?? 'docs/benchmark.md', text)
  console.log(text)
} finally {
  await dropDatabase(SERVER_URL, 'twostep_bench_few')
  await dropDatabase(SERVER_URL, 'twostep_bench_many')
}

async function createDeployment(
  name: string,
  enrolled: number,
  notEnrolled: number
): Promise<Deployment> {
  const population = { enrolled, notEnrolled, passwordHash }
  const databaseUrl = await createDatabase(SERVER_URL, name, population)
  return { databaseUrl, users: enrolled }
}

async function measureRound(round: number): Promise<void> {
  const range = { first: 2 * round * VERIFICATIONS, count: VERIFICATIONS }
  const redisUrl = process.env['BENCH_REDIS_URL']
  figures.floorFew.push(await measureVerify(startFloor, few, range))
  figures.twostepFew.push(await measureVerify(startTwostep, few, range))
  figures.floorMany.push(await measureVerify(startFloor, many, range))
  figures.twostepMany.push(await measureVerify(startTwostep, many, range))
  if (redisUrl) {
    const withRedis = (url: string) => startTwostep(url, { REDIS_URL: redisUrl })
    const laterRange = { ...range, first: range.first + 2 * ROUNDS * VERIFICATIONS }
    figures.twostepRedis.push(await measureVerify(withRedis, many, laterRange))
  }
  figures.argon2.push(measureArgon2())
  figures.floorLogin.push(await measureFloorLogin())
  const server = await startTwostep(many.databaseUrl)
  try {
    figures.startMs.push(server.startedInMs)
    await sleep(IDLE_SECONDS * 1000)
    figures.idleMiB.push(server.memory().nowMiB)
    figures.enroll.push(await measureWarm((nth) => enroll(server, 2 * round + nth)))
    const key = await createApiKey(server, accountIdOf(0))
    figures.roster.push(await measureWarm(() => readRoster(server, key)))
    figures.login.push(await measureWarm((nth) => logIn(server, nth)))
  } finally {
    await server.stop()
  }
  console.error(`round ${round + 1} of ${ROUNDS} finished`)
}

async function measureFloorLogin(): Promise<Measurement> {
  const server = await startFloor(few.databaseUrl, { PASSWORD_HASH: passwordHash })
  try {
    return await measureWarm((nth) => logIn(server, nth))
  } finally {
    await server.stop()
  }
}

/** Runs the measurement twice and returns the second result. The first run warms up the process. */
async function measureWarm(run: (nth: number) => Promise<Measurement>): Promise<Measurement> {
  await run(0)
  return run(1)
}

/** Returns passwords per second. */
function measureArgon2(): number {
  const args = ['--import=./test/support/typescript.mjs', 'bench/argon2.ts']
  const [command, ...rest] = pinned([...args, passwordHash, PASSWORD, String(LOGINS)])
  return Number(execFileSync(command, rest, { encoding: 'utf8' }))
}

function logIn(server: Server, nth: number): Promise<Measurement> {
  return measure(server, {
    count: LOGINS,
    connections: 16,
    request(index) {
      const number = nth * LOGINS + index
      const { email, account } = { ...userAt(number), account: slugOf(number) }
      return { method: 'POST', path: '/v1/login', body: { account, email, password: PASSWORD } }
    }
  })
}

function enroll(server: Server, nth: number): Promise<Measurement> {
  return measure(server, {
    count: ENROLLMENTS,
    connections: 32,
    request(index) {
      const user = userAt(MANY + nth * ENROLLMENTS + index)
      const credential = signStepToken(user, 'enroll')
      return { method: 'POST', path: '/v1/enroll', credential, body: { name: 'Phone' } }
    }
  })
}

function readRoster(server: Server, credential: string): Promise<Measurement> {
  const request = () => ({ method: 'GET', path: '/v1/users', credential }) as const
  return measure(server, { count: PAGES, connections: 8, request })
}

async function createApiKey(server: Server, accountId: string): Promise<string> {
  const response = await fetch(`${server.url}/v1/api-keys`, {
    method: 'POST',
    headers: { authorization: `Bearer ${OPERATOR_KEY}`, 'content-type': 'application/json' },
    body: JSON.stringify({ accountId, name: 'Roster', scopes: ['users:read'] })
  })
  const { key } = (await response.json()) as { key: string }
  return key
}

function slugOf(number: number): string {
  return `account-${(number % 20) + 1}`
}
