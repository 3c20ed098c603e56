// Does the time of a refused sign-in tell whether the account or the user exists? Prints the medians side by side; they
// should lie within a tenth of each other. Run it on a quiet machine: npm run timing
import { randomBytes } from 'node:crypto'
import { PGlite } from '@electric-sql/pglite'
import type { FastifyInstance } from 'fastify'
import { buildApp } from '../src/app.ts'
import { formatBearerKey } from '../src/core/bearer-keys.ts'
import { generateBearerKey } from '../src/crypto/secrets.ts'
import { openDatabase } from '../src/data/engine/database.ts'
import { parseConfig } from '../src/settings/config.ts'
import { readEnvironment } from '../src/settings/environment.ts'

const TRIES = 200
const WARM_UP = 20
const PASSWORD = 'correct horse battery staple'

interface Tried {
  account: string
  email: string
}

const operatorKey = formatBearerKey(generateBearerKey('operator'))
const environment = readEnvironment({
  MASTER_KEYS: `timing:${randomBytes(32).toString('base64')}`,
  OPERATOR_KEY: operatorKey,
  RATE_LIMIT_PER_MINUTE: '1000000'
})
const config = parseConfig(environment)
const database = await openDatabase({ url: 'pglite:', pglite: await PGlite.create() })
await database.migrate()
const app = await buildApp({ config, database, now: () => new Date() })

const cases = await prepare(app)
const times: Record<string, number[]> = {}
let made = 0
// Interleaved, so that a drift of the machine's speed hits every case alike.
for (let round = -WARM_UP; round < TRIES; round += 1) {
  for (const [name, tried] of Object.entries(cases)) {
    const elapsedMs = await timeRefusal(tried)
    if (round >= 0) times[name] = [...(times[name] ?? []), elapsedMs]
  }
}
print(times)
await app.close()
await database.close()

async function prepare(app: FastifyInstance): Promise<Record<string, Tried>> {
  const { apiKey } = await send(app, 'POST', '/v1/accounts', operatorKey, {
    slug: 'acme',
    name: 'Acme'
  })
  const user = (email: string) =>
    send(app, 'POST', '/v1/users', apiKey.key, { email, password: PASSWORD })
  await user('ada@example.com')
  const { id } = await user('disabled@example.com')
  await send(app, 'PATCH', `/v1/users/${id}`, apiKey.key, { disabled: true })
  return {
    'unknown account': { account: 'nobody', email: 'ada@example.com' },
    'unknown user': { account: 'acme', email: 'nobody@example.com' },
    'wrong password': { account: 'acme', email: 'ada@example.com' },
    'disabled user': { account: 'acme', email: 'disabled@example.com' }
  }
}

// Each try comes from an address of its own: the delay after failures is by address and would be all there is to see.
async function timeRefusal({ account, email }: Tried): Promise<number> {
  made += 1
  const remoteAddress = `10.${made >> 16}.${(made >> 8) & 255}.${made & 255}`
  const payload = { account, email, password: 'wrong horse battery staple' }
  const startedAt = performance.now()
  const answer = await app.inject({ method: 'POST', url: '/v1/login', remoteAddress, payload })
  const elapsedMs = performance.now() - startedAt
  if (answer.statusCode !== 401) throw new Error(`answered ${answer.statusCode}: ${answer.body}`)
  return elapsedMs
}

async function send(
  app: FastifyInstance,
  method: 'POST' | 'PATCH',
  url: string,
  bearer: string,
  payload: object
) {
  const answer = await app.inject({
    method,
    url,
    payload,
    headers: { authorization: `Bearer ${bearer}` }
  })
  if (answer.statusCode >= 300) throw new Error(`answered ${answer.statusCode}: ${answer.body}`)
  return answer.json()
}

function print(measured: Record<string, number[]>): void {
  const overall = quantile(Object.values(measured).flat(), 0.5)
  console.log(`${TRIES} tries each, milliseconds\n`)
  console.log('| case | median | p95 | median / overall median |')
  console.log('|---|---|---|---|')
  for (const [name, values] of Object.entries(measured)) {
    const median = quantile(values, 0.5)
    const cells = [
      median.toFixed(2),
      quantile(values, 0.95).toFixed(2),
      (median / overall).toFixed(3)
    ]
    console.log(`| ${name} | ${cells.join(' | ')} |`)
  }
}

function quantile(values: number[], share: number): number {
  const sorted = values.toSorted((one, other) => one - other)
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN
}
