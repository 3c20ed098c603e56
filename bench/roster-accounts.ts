// Fills the database for the benchmark of the roster: ten accounts of 10,000 users and one of 100.
import type { Database } from '../src/data/engine/database.ts'

const LARGE = 10_000
/** Users per account and statement, so that each statement stays within its time limit. */
const CHUNK = 500

export const MIXED_100 = accountId(0)
export const MIXED_10000 = accountId(1)
export const FEW_ENABLED = accountId(2)
export const FEW_DISABLED = accountId(3)
const OTHERS = [4, 5, 6, 7, 8, 9, 10].map(accountId)

/** Of every thousand users one has the state `few`, one is pending, and the rest have `most`. Without both, states are mixed. */
const ACCOUNTS = [
  { id: MIXED_100, users: 100 },
  { id: MIXED_10000, users: LARGE },
  { id: FEW_ENABLED, users: LARGE, few: 'enabled', most: 'disabled' },
  { id: FEW_DISABLED, users: LARGE, few: 'disabled', most: 'enabled' },
  ...OTHERS.map((id) => ({ id, users: LARGE }))
]

/** Fills a migrated, empty database. The users of all accounts are interleaved, as in a real deployment. */
export async function fill({ prisma, engine }: Database, now: Date): Promise<void> {
  await prisma.account.createMany({
    data: ACCOUNTS.map(({ id }) => ({ id, slug: id, name: id, audience: id, createdAt: now }))
  })
  const accounts = JSON.stringify(ACCOUNTS)
  const later = new Date(now.getTime() + 3_600_000)
  for (let from = 0; from < LARGE; from += CHUNK) {
    await prisma.$executeRaw`
      WITH seed AS MATERIALIZED (
        SELECT a.id AS "accountId", n,
          (lpad(to_hex(n), 8, '0') || '-0000-7000-8000-' || right(a.id::text, 12))::uuid AS id,
          CASE WHEN few IS NULL
            THEN CASE WHEN n % 2 = 0 THEN 'enabled' WHEN n % 10 = 5 THEN 'pending' ELSE 'disabled' END
            ELSE CASE n % 1000 WHEN 500 THEN few WHEN 600 THEN 'pending' ELSE most END
          END AS state,
          CASE WHEN few IS NULL THEN n % 10 = 0 ELSE n % 1000 = 500 END AS "isLocked"
        FROM json_to_recordset(${accounts}::json) AS a(id uuid, users int, few text, most text)
        JOIN generate_series(${from}::int, ${from + CHUNK - 1}::int) n ON n < users
        ORDER BY n, a.id
      ), people AS (
        INSERT INTO "User" ("accountId", id, email, "externalId", "passwordHash", "createdAt",
          "codeLockedUntil")
        SELECT "accountId", id, 'user' || n || '@example.com', 'CRM-' || n, repeat('x', 97),
          ${now}::timestamptz, CASE WHEN "isLocked" THEN ${later}::timestamptz END
        FROM seed
      ), authenticators AS (
        INSERT INTO "Authenticator" ("accountId", "userId", id, name, "sealedSecret", "createdAt",
          "confirmedAt", "lastTimeStep")
        SELECT "accountId", id, id, 'Phone', repeat('s', 120), ${now}::timestamptz,
          ${now}::timestamptz, 0
        FROM seed WHERE state = 'enabled'
      ), enrollments AS (
        INSERT INTO "Enrollment" ("accountId", "userId", "authenticatorId", name, "sealedSecret",
          "createdAt", "expiresAt")
        SELECT "accountId", id, id, 'Phone', repeat('s', 120), ${now}::timestamptz,
          ${later}::timestamptz
        FROM seed WHERE state = 'pending'
      )
      INSERT INTO "RecoveryCode" ("accountId", "userId", hash)
      SELECT "accountId", id, sha256((id::text || code)::bytea)
      FROM seed, generate_series(1, 10) code WHERE state = 'enabled'`
  }
  // Autovacuum would do this later. The embedded database has no autovacuum.
  if (engine === 'postgresql') await prisma.$executeRaw`VACUUM (ANALYZE)`
}

function accountId(index: number): string {
  return `00000000-0000-7000-8000-${String(index).padStart(12, '0')}`
}
