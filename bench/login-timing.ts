// Does the response time of a rejected sign-in reveal whether the account or the user exists? Prints the medians side by
// side. They should differ by less than a tenth. Run it on a machine without other load: npm run timing
import { randomBytes } from 'node:crypto'
import { PGlite } from '@electric-sql/pglite'
import type { FastifyInstance } from 'fastify'
import { buildApp } from '../src/app.ts'
import { formatBearerKey } from '../src/core/bearer-keys.ts'
import { generateOperatorKey } from '../src/crypto/secrets.ts'
import { openDatabase } from '../src/data/engine/database.ts'
import { parseConfig } from '../src/settings/config.ts'
import { readEnvironment } from '../src/settings/environment.ts'

const ATTEMPTS = 200
const WARM_UP = 20
const PASSWORD = 'correct horse battery staple'

interface Attempt {
  account: string
  email: string
}

const operatorKey = formatBearerKey(generateOperatorKey())
const environment = readEnvironment({
  MASTER_KEYS: `timing:${randomBytes(32).toString('base64')}`,
  OPERATOR_KEY: operatorKey,
  RATE_LIMIT_PER_MINUTE: '1000000'
})
const config = parseConfig(environment)
const database = await openDatabase({ url: 'pglite:', pglite: await PGlite.create() })
await database.migrate()
const app = await buildApp({ config, database, now: () => new Date() })

const cases = await createCases(app)
const times: Record<string, number[]> = {}
let attempts = 0
// Interleaved, so that a drift of the machine's speed affects all cases equally.
for (let round = -WARM_UP; round < ATTEMPTS; round += 1) {
  for (const [name, attempt] of Object.entries(cases)) {
    const elapsedMs = await timeRejection(attempt)
    if (round >= 0) times[name] = [...(times[name] ?? []), elapsedMs]
  }
}
print(times)
await app.close()
await database.close()

async function createCases(app: FastifyInstance): Promise<Record<string, Attempt>> {
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
    'unknown account': { account: 'unknown', email: 'ada@example.com' },
    'unknown user': { account: 'acme', email: 'unknown@example.com' },
    'wrong password': { account: 'acme', email: 'ada@example.com' },
    'disabled user': { account: 'acme', email: 'disabled@example.com' }
  }
}

// Each attempt comes from a different address. Otherwise the delay after failures, which counts per address, would hide any
// difference.
async function timeRejection({ account, email }: Attempt): Promise<number> {
  attempts += 1
  const remoteAddress = `10.${attempts >> 16}.${(attempts >> 8) & 255}.${attempts & 255}`
  const payload = { account, email, password: 'wrong horse battery staple' }
  const startedAt = performance.now()
  const response = await app.inject({ method: 'POST', url: '/v1/login', remoteAddress, payload })
  const elapsedMs = performance.now() - startedAt
  if (response.statusCode !== 401) {
    throw new Error(`expected 401, got ${response.statusCode}: ${response.body}`)
  }
  return elapsedMs
}

async function send(
  app: FastifyInstance,
  method: 'POST' | 'PATCH',
  url: string,
  bearer: string,
  payload: object
) {
  const response = await app.inject({
    method,
    url,
    payload,
    headers: { authorization: `Bearer ${bearer}` }
  })
  if (response.statusCode >= 300) {
    throw new Error(`${url}: ${response.statusCode} ${response.body}`)
  }
  return response.json()
}

function print(measured: Record<string, number[]>): void {
  const overall = quantile(Object.values(measured).flat(), 0.5)
  console.log(`${ATTEMPTS} attempts per case, in milliseconds\n`)
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
