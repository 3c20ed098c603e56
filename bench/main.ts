// What the service costs, beside the least that it could (bench/floor.ts): npm run bench
//
// It wants a PostgreSQL server whose role may create databases, BENCH_DATABASE_URL or the one on 127.0.0.1:5432, Linux, and
// a machine that does nothing else. Writes docs/benchmark.md, or the file that it is told.
import { execFileSync } from 'node:child_process'
import { writeFile } from 'node:fs/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import { hash } from '@node-rs/argon2'
import { startFloor, startOurs } from './deployments.ts'
import { dropDatabase, makeDatabase } from './fill.ts'
import { OPERATOR_KEY, stepTokenOf } from './keys.ts'
import { type Measured, measure } from './load.ts'
import { accountIdOf, personAt } from './people.ts'
import { type Figures, report } from './report.ts'
import { pinned, pinThisProcess, type Server } from './servers.ts'
import { type Deployment, measureVerify } from './verify.ts'

const ROUNDS = 3
const VERIFICATIONS = 10_000
const FEW = 1000
/** Enough that nobody has a second turn: both systems have their own copy, and each round takes the next. */
const MANY = 200_000
/** Of a login's JavaScript too little runs in a second for fewer to warm it up. */
const LOGINS = 1000
const ENROLLMENTS = 1500
const PAGES = 600
const IDLE_SECONDS = 10
const PASSWORD = 'correct horse battery staple'
const SERVER_URL =
  process.env['BENCH_DATABASE_URL'] ?? 'postgresql://postgres@127.0.0.1:5432/postgres'

pinThisProcess()
/** OWASP's first choice, as the service has it (plugins/password-hashing). */
const passwordHash = await hash(PASSWORD, { memoryCost: 19_456, timeCost: 2, parallelism: 1 })
const few = await deployment('twostep_bench_few', FEW, 0)
const many = await deployment('twostep_bench_many', MANY, 2 * ROUNDS * ENROLLMENTS)
const figures: Figures = {
  floorFew: [],
  oursFew: [],
  floorMany: [],
  oursMany: [],
  oursRedis: [],
  login: [],
  floorLogin: [],
  argon2: [],
  enroll: [],
  roster: [],
  startMs: [],
  idleMiB: []
}
try {
  // Interleaved, so that a drift of the machine's speed hits all alike.
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

async function deployment(name: string, people: number, newcomers: number): Promise<Deployment> {
  const databaseUrl = await makeDatabase(SERVER_URL, name, { people, newcomers, passwordHash })
  return { databaseUrl, people }
}

async function measureRound(round: number): Promise<void> {
  const turn = { first: 2 * round * VERIFICATIONS, count: VERIFICATIONS }
  const redisUrl = process.env['BENCH_REDIS_URL']
  figures.floorFew.push(await measureVerify(startFloor, few, turn))
  figures.oursFew.push(await measureVerify(startOurs, few, turn))
  figures.floorMany.push(await measureVerify(startFloor, many, turn))
  figures.oursMany.push(await measureVerify(startOurs, many, turn))
  if (redisUrl) {
    const withRedis = (url: string) => startOurs(url, { REDIS_URL: redisUrl })
    const later = { ...turn, first: turn.first + 2 * ROUNDS * VERIFICATIONS }
    figures.oursRedis.push(await measureVerify(withRedis, many, later))
  }
  figures.argon2.push(argon2PerSecond())
  figures.floorLogin.push(await floorLogin())
  const server = await startOurs(many.databaseUrl)
  try {
    figures.startMs.push(server.startedInMs)
    await sleep(IDLE_SECONDS * 1000)
    figures.idleMiB.push(server.memory().nowMiB)
    figures.enroll.push(await warmed((nth) => enroll(server, 2 * round + nth)))
    const key = await apiKeyOf(server, accountIdOf(0))
    figures.roster.push(await warmed(() => readRoster(server, key)))
    figures.login.push(await warmed((nth) => logIn(server, nth)))
  } finally {
    await server.stop()
  }
  console.error(`round ${round + 1} of ${ROUNDS} is done`)
}

async function floorLogin(): Promise<Measured> {
  const server = await startFloor(few.databaseUrl, { PASSWORD_HASH: passwordHash })
  try {
    return await warmed((nth) => logIn(server, nth))
  } finally {
    await server.stop()
  }
}

/** As much again before, which doesn't count. */
async function warmed(run: (nth: number) => Promise<Measured>): Promise<Measured> {
  await run(0)
  return run(1)
}

function argon2PerSecond(): number {
  const args = ['--import=./test/support/typescript.mjs', 'bench/argon2.ts']
  const [command, ...rest] = pinned([...args, passwordHash, PASSWORD, String(LOGINS)])
  return Number(execFileSync(command, rest, { encoding: 'utf8' }))
}

function logIn(server: Server, nth: number): Promise<Measured> {
  return measure(server, {
    count: LOGINS,
    connections: 16,
    shot(index) {
      const number = nth * LOGINS + index
      const { email, account } = { ...personAt(number), account: slugOf(number) }
      return { method: 'POST', path: '/v1/login', body: { account, email, password: PASSWORD } }
    }
  })
}

function enroll(server: Server, nth: number): Promise<Measured> {
  return measure(server, {
    count: ENROLLMENTS,
    connections: 32,
    shot(index) {
      const newcomer = personAt(MANY + nth * ENROLLMENTS + index)
      const credential = stepTokenOf(newcomer, 'enroll')
      return { method: 'POST', path: '/v1/enroll', credential, body: { name: 'Phone' } }
    }
  })
}

function readRoster(server: Server, credential: string): Promise<Measured> {
  const shot = () => ({ method: 'GET', path: '/v1/users', credential }) as const
  return measure(server, { count: PAGES, connections: 8, shot })
}

async function apiKeyOf(server: Server, accountId: string): Promise<string> {
  const answer = await fetch(`${server.url}/v1/api-keys`, {
    method: 'POST',
    headers: { authorization: `Bearer ${OPERATOR_KEY}`, 'content-type': 'application/json' },
    body: JSON.stringify({ accountId, name: 'Roster', scopes: ['users:read'] })
  })
  const { key } = (await answer.json()) as { key: string }
  return key
}

function slugOf(number: number): string {
  return `account-${(number % 20) + 1}`
}
