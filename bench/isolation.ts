// How much does one account slow down the others? npm run isolation [<file>]
//
// Starts two replicas on PostgreSQL and Redis. Other accounts send a constant load, first alone and then during each attack
// of one account (bench/isolation-attacks.ts). Limits per minute are out of reach, so that only the shares of requests
// protect the others. Needs Linux, a machine without other load, and the servers of BENCH_DATABASE_URL and BENCH_REDIS_URL.
// Writes docs/isolation.md, or the file given as an argument.
import { writeFile } from 'node:fs/promises'
import { loadavg } from 'node:os'
import { setTimeout as sleep } from 'node:timers/promises'
import { Pool } from 'undici'
import { freePort } from '../test/support/processes.ts'
import { scrape } from '../test/support/scrape.ts'
import { createDatabase, dropDatabase, SERVER_URL } from './fill.ts'
import { ATTACKER, ATTACKS, createAttackerKey } from './isolation-attacks.ts'
import { type Figures, type Phase, report } from './isolation-report.ts'
import { ISSUER, MASTER_KEYS_TEXT, OPERATOR_KEY, signStepToken } from './keys.ts'
import { type Server, startServer } from './servers.ts'
import { accountIdOf, currentCode, hashPassword, PASSWORD, userAt } from './users.ts'

const REDIS_URL = process.env['BENCH_REDIS_URL'] ?? 'redis://127.0.0.1:6379'
const DATABASE = 'twostep_isolation'
const QUIET_SECONDS = 8
const ATTACK_SECONDS = 12
/** The pool is full and the rows are locked only after a moment. */
const LEAD_SECONDS = 1
const TICK_MS = 10
/** Codes come from a user each; enough for all phases. */
const ENROLLED = 40_000
const PASSWORD_USERS = 2000
const ACCOUNTS = 20
/** Per second and in all, far below the capacity of two cores. */
const RATES = { code: 20, page: 10, password: 3 }

type Kind = keyof typeof RATES

interface Replica {
  server: Server
  pool: Pool
  metricsPort: number
}

const [loadBefore = 0] = loadavg()
const passwordHash = await hashPassword()
const population = { enrolled: ENROLLED, notEnrolled: PASSWORD_USERS, passwordHash }
const databaseUrl = await createDatabase(SERVER_URL, DATABASE, population)
const replicas = await Promise.all([startReplica(), startReplica()])
let sent = 0
try {
  const urls = replicas.map(({ server }) => server.url)
  const [url = ''] = urls
  const apiKey = await createAttackerKey(url, OPERATOR_KEY)
  const pageKey = await createPageKey(url)
  await runPhase('warm-up', QUIET_SECONDS, pageKey)
  const figures: Figures[] = []
  for (const { name, run } of ATTACKS) {
    const quiet = await runPhase('quiet', QUIET_SECONDS, pageKey)
    const end = performance.now() + (LEAD_SECONDS + ATTACK_SECONDS) * 1000
    const isOver = () => performance.now() > end
    const slug = `account-${ATTACKER + 1}`
    const attack = run({ urls, databaseUrl, apiKey, slug, isOver })
    await sleep(LEAD_SECONDS * 1000)
    const during = await runPhase(name, ATTACK_SECONDS, pageKey)
    await attack
    figures.push({ quiet, during })
    console.error(`${name}: finished`)
    await sleep(2000)
  }
  const text = report(figures, loadBefore)
  await writeFile(process.argv[2] ?? 'docs/isolation.md', text)
  console.log(text)
} finally {
  for (const { server, pool } of replicas) {
    await pool.close()
    await server.stop()
  }
  await dropDatabase(SERVER_URL, DATABASE)
}

async function startReplica(): Promise<Replica> {
  const metricsPort = await freePort()
  const server = await startServer(
    ['--max-semi-space-size=8', 'dist/server.js'],
    {
      DATABASE_URL: databaseUrl,
      REDIS_URL,
      // Allows an identity provider on this machine. All else is as in production.
      NODE_ENV: 'development',
      MASTER_KEYS: MASTER_KEYS_TEXT,
      METRICS_PORT: String(metricsPort),
      RATE_LIMIT_PER_MINUTE: '1000000',
      RATE_LIMIT_PER_KEY_PER_MINUTE: '1000000',
      RATE_LIMIT_PER_ACCOUNT_PER_MINUTE: '1000000',
      OPERATOR_KEY,
      ISSUER
    },
    { sharesCores: true }
  )
  return { server, metricsPort, pool: new Pool(server.url, { connections: 100, pipelining: 1 }) }
}

/** Returns a key of another account. */
async function createPageKey(url: string): Promise<string> {
  const response = await fetch(`${url}/v1/api-keys`, {
    method: 'POST',
    headers: { authorization: `Bearer ${OPERATOR_KEY}`, 'content-type': 'application/json' },
    body: JSON.stringify({ accountId: accountIdOf(1), name: 'Pages', scopes: ['users:read'] })
  })
  const { key } = (await response.json()) as { key: string }
  return key
}

/** Sends the load of the other accounts at its scheduled times, whether earlier responses are there or not. */
async function runPhase(name: string, seconds: number, pageKey: string): Promise<Phase> {
  const latenciesMs: Record<Kind, number[]> = { code: [], page: [], password: [] }
  const requests: Promise<void>[] = []
  const statuses: Record<string, number> = {}
  await Promise.all(replicas.map(({ metricsPort }) => scrape(metricsPort)))
  const startedAt = performance.now()
  const counts: Record<Kind, number> = { code: 0, page: 0, password: 0 }
  while (performance.now() - startedAt < seconds * 1000) {
    for (const kind of ['code', 'page', 'password'] as const) {
      const dueMs = startedAt + (counts[kind] / RATES[kind]) * 1000
      if (dueMs > performance.now()) continue
      counts[kind] += 1
      const request = sendOne(kind, pageKey).then((status) => {
        latenciesMs[kind].push(performance.now() - dueMs)
        statuses[status] = (statuses[status] ?? 0) + 1
      })
      requests.push(request)
    }
    await sleep(TICK_MS)
  }
  await Promise.all(requests)
  const lags = await Promise.all(replicas.map(longestBlockMs))
  const memories = replicas.map(({ server }) => server.memory().nowMiB)
  return {
    name,
    latenciesMs,
    statuses,
    longestBlockMs: Math.max(...lags),
    memoryMiB: Math.max(...memories)
  }
}

/** Returns the longest block of the replica's event loop since the last scrape. */
async function longestBlockMs({ metricsPort }: Replica): Promise<number> {
  const samples = await scrape(metricsPort)
  const seconds = samples.find(({ name }) => name === 'nodejs_eventloop_lag_max_seconds')?.value
  return (seconds ?? Number.NaN) * 1000
}

async function sendOne(kind: Kind, pageKey: string): Promise<number> {
  sent += 1
  const number = sent
  const pool = replicas[number % replicas.length]?.pool
  if (!pool) throw new Error('no replica')
  const { method, path, credential, body } = requestOf(kind, number, pageKey)
  const response = await pool.request({
    method,
    path,
    headers: {
      ...(credential && { authorization: `Bearer ${credential}` }),
      ...(body && { 'content-type': 'application/json' })
    },
    body: body ? JSON.stringify(body) : null
  })
  await response.body.dump()
  return response.statusCode
}

function requestOf(kind: Kind, number: number, pageKey: string) {
  // Never a user of the attacking account.
  const index = Math.floor(number / (ACCOUNTS - 1)) * ACCOUNTS + 1 + (number % (ACCOUNTS - 1))
  if (kind === 'page') return { method: 'GET', path: '/v1/users', credential: pageKey } as const
  if (kind === 'code') {
    const user = userAt(index % ENROLLED)
    const credential = signStepToken(user, 'verify')
    const body = { code: currentCode(user) }
    return { method: 'POST', path: '/v1/verify', credential, body } as const
  }
  const user = userAt(ENROLLED + (index % PASSWORD_USERS))
  const account = `account-${(index % ACCOUNTS) + 1}`
  const body = { account, email: user.email, password: PASSWORD }
  return { method: 'POST', path: '/v1/login', body } as const
}
