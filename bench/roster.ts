// Does a page of the roster take the same time in an account of 10,000 users as in one of 100, with any filter? Prints
// medians as a Markdown table, for the embedded database and, if TEST_DATABASE_URL is set, for that server. Its role must
// be allowed to create databases. Run it on a machine without other load: npm run bench:roster
import { PGlite } from '@electric-sql/pglite'
import pg from 'pg'
import type { AccountPolicy } from '../src/core/policy.ts'
import type { TwoFactorFilter } from '../src/core/two-factor/states.ts'
import { type Database, openDatabase } from '../src/data/engine/database.ts'
import { createRoster } from '../src/data/users/roster.ts'
import { FEW_DISABLED, FEW_ENABLED, fill, MIXED_100, MIXED_10000 } from './roster-accounts.ts'

const ROUNDS = 30
// PostgreSQL chooses the final plan of a prepared statement at its sixth run.
const WARM_UP = 8
const NOW = new Date('2026-01-05T09:00:00.000Z')
/** Single sign-on is optional, so that the roster has to look up which users are exempt. */
const POLICY: AccountPolicy = {
  twoFactor: 'optional',
  appliesTo: 'everyone',
  requiredFrom: null,
  requiredSince: null,
  graceDays: 0,
  trustedDevices: { allowed: false, days: 30 },
  sso: {
    mode: 'optional',
    issuer: 'https://login.acme.example',
    clientId: 'twostep',
    trustEmail: false,
    since: null
  }
}
const SERVER_DATABASE = 'twostep_bench_roster'

interface Case {
  name: string
  accountId: string
  twoFactor?: TwoFactorFilter
  q?: string
}

const CASES: Case[] = [
  { name: 'all of 100', accountId: MIXED_100 },
  { name: 'all of 10,000', accountId: MIXED_10000 },
  { name: 'enabled, half of 100', accountId: MIXED_100, twoFactor: 'enabled' },
  { name: 'enabled, half of 10,000', accountId: MIXED_10000, twoFactor: 'enabled' },
  { name: 'enabled, 10 of 10,000', accountId: FEW_ENABLED, twoFactor: 'enabled' },
  { name: 'disabled, 40 of 100', accountId: MIXED_100, twoFactor: 'disabled' },
  { name: 'disabled, 4,000 of 10,000', accountId: MIXED_10000, twoFactor: 'disabled' },
  { name: 'disabled, 10 of 10,000', accountId: FEW_DISABLED, twoFactor: 'disabled' },
  { name: 'pending, 10 of 100', accountId: MIXED_100, twoFactor: 'pending' },
  { name: 'pending, 1,000 of 10,000', accountId: MIXED_10000, twoFactor: 'pending' },
  { name: 'pending, 10 of 10,000', accountId: FEW_ENABLED, twoFactor: 'pending' },
  { name: 'locked, 10 of 100', accountId: MIXED_100, twoFactor: 'locked' },
  { name: 'locked, 1,000 of 10,000', accountId: MIXED_10000, twoFactor: 'locked' },
  { name: 'locked, 10 of 10,000', accountId: FEW_ENABLED, twoFactor: 'locked' },
  { name: 'exempt, none of 10,000', accountId: MIXED_10000, twoFactor: 'exempt' },
  { name: 'q, all of 10,000', accountId: MIXED_10000, q: 'example' },
  { name: 'q, one of 100', accountId: MIXED_100, q: 'user77@' },
  { name: 'q, one of 10,000', accountId: MIXED_10000, q: 'crm-7777' },
  { name: 'q, none of 10,000', accountId: MIXED_10000, q: 'unknown' },
  { name: 'q and locked, one of 10,000', accountId: MIXED_10000, q: 'r7770@', twoFactor: 'locked' }
]

/** A page of the roster that is read repeatedly. */
interface Page {
  column: string
  times: number[]
  read(): Promise<unknown>
}

await measure(await openDatabase({ url: 'pglite:', pglite: await PGlite.create() }))
const server = process.env['TEST_DATABASE_URL']
if (server) await measureOn(server)

async function measureOn(serverUrl: string): Promise<void> {
  const client = new pg.Client({ connectionString: serverUrl })
  await client.connect()
  await client.query(`DROP DATABASE IF EXISTS ${SERVER_DATABASE}`)
  await client.query(`CREATE DATABASE ${SERVER_DATABASE}`)
  const url = new URL(serverUrl)
  url.pathname = `/${SERVER_DATABASE}`
  try {
    await measure(await openDatabase({ url: url.href }))
  } finally {
    await client.query(`DROP DATABASE ${SERVER_DATABASE} WITH (FORCE)`)
    await client.end()
  }
}

async function measure(database: Database): Promise<void> {
  await database.migrate()
  await fill(database, NOW)
  const rows: { name: string; pages: Page[] }[] = []
  for (const one of CASES) rows.push({ name: one.name, pages: await pagesOf(database, one) })
  // Interleaved, so that a drift of the machine's speed affects all cases equally.
  for (let round = -WARM_UP; round < ROUNDS; round += 1) {
    for (const { read, times } of rows.flatMap(({ pages }) => pages)) {
      const startedAt = performance.now()
      await read()
      if (round >= 0) times.push(performance.now() - startedAt)
    }
  }
  await database.close()
  print(database.engine, rows)
}

async function pagesOf({ prisma }: Database, one: Case): Promise<Page[]> {
  const roster = createRoster(prisma)
  const { accountId, twoFactor = null, q = null } = one
  const pages: Page[] = []
  for (const limit of [50, 200]) {
    const page = (after: string | null) =>
      roster.list(accountId, { limit, after, twoFactor, q, policy: POLICY, now: NOW })
    const lastAfter = await startOfLastPage(page)
    pages.push({ column: `first ${limit}`, times: [], read: () => page(null) })
    pages.push({ column: `last ${limit}`, times: [], read: () => page(lastAfter) })
  }
  return pages
}

/** Returns the cursor of the last page. */
async function startOfLastPage(
  page: (after: string | null) => Promise<{ next: string | null }>
): Promise<string | null> {
  let after: string | null = null
  let { next } = await page(after)
  while (next !== null) {
    after = next
    next = (await page(after)).next
  }
  return after
}

function print(engine: string, rows: { name: string; pages: Page[] }[]): void {
  const columns = rows[0]?.pages.map(({ column }) => column) ?? []
  console.log(`\n${engine}: medians of ${ROUNDS} reads, in milliseconds\n`)
  console.log(`| matching users | ${columns.join(' | ')} |`)
  console.log(`|---|${columns.map(() => '---|').join('')}`)
  for (const { name, pages } of rows) {
    const cells = pages.map(({ times }) => median(times).toFixed(1))
    console.log(`| ${name} | ${cells.join(' | ')} |`)
  }
}

function median(values: number[]): number {
  return values.toSorted((one, other) => one - other)[Math.floor(values.length / 2)] ?? Number.NaN
}
