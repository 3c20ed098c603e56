// Creates a database with enrolled users, in the form in which the service stores them, and the same users for the floor.
import pg from 'pg'
import { createSealer } from '../src/crypto/sealing.ts'
import { openDatabase } from '../src/data/engine/database.ts'
import { sealForFloor } from './floor-secrets.ts'
import { MASTER_KEYS } from './keys.ts'
import { accountIds, userAt } from './users.ts'

/** The server for the databases of the benchmarks. Its role may create databases. */
export const SERVER_URL =
  process.env['BENCH_DATABASE_URL'] ?? 'postgresql://postgres@127.0.0.1:5432/postgres'

/** Users per statement, so that each stays within the time limit of a statement. */
const CHUNK = 5000
const sealer = createSealer(MASTER_KEYS, 'authenticator-secret')

export interface Population {
  /** Users with an authenticator and ten recovery codes. */
  enrolled: number
  /** Users without an authenticator; their numbers follow those of the enrolled users. */
  notEnrolled: number
  /** The same for all users. */
  passwordHash: string
}

/** Creates, migrates and fills the database, and returns its URL. Drops a database with the same name first. */
export async function createDatabase(
  serverUrl: string,
  name: string,
  population: Population
): Promise<string> {
  await withClient(serverUrl, async (client) => {
    await client.query(`DROP DATABASE IF EXISTS ${name} WITH (FORCE)`)
    await client.query(`CREATE DATABASE ${name}`)
  })
  const url = new URL(serverUrl)
  url.pathname = `/${name}`
  const database = await openDatabase({ url: url.href })
  await database.migrate()
  await database.close()
  await withClient(url.href, (client) => fill(client, population))
  return url.href
}

export async function dropDatabase(serverUrl: string, name: string): Promise<void> {
  await withClient(serverUrl, (client) =>
    client.query(`DROP DATABASE IF EXISTS ${name} WITH (FORCE)`)
  )
}

/** Makes the current code of every user valid again; otherwise a code is accepted only once. */
export async function resetTimeSteps(databaseUrl: string): Promise<void> {
  await withClient(databaseUrl, async (client) => {
    await client.query('UPDATE "Authenticator" SET "lastTimeStep" = 0')
    await client.query('UPDATE floor SET "lastTimeStep" = 0')
  })
}

/** Vacuums now, so that the measurement does not depend on when autovacuum runs. */
export async function vacuum(databaseUrl: string): Promise<void> {
  await withClient(databaseUrl, (client) => client.query('VACUUM (ANALYZE)'))
}

async function fill(
  client: pg.Client,
  { enrolled, notEnrolled, passwordHash }: Population
): Promise<void> {
  await client.query(`CREATE TABLE floor (account uuid, id uuid, secret bytea NOT NULL,
    epoch int NOT NULL DEFAULT 0, "lastTimeStep" int NOT NULL DEFAULT 0, PRIMARY KEY (account, id))`)
  await client.query(
    `WITH account AS (
       INSERT INTO "Account" (id, slug, name, audience, "createdAt")
       SELECT id, 'account-' || n, 'Account', 'urn:twostep:account:' || id, now()
       FROM unnest($1::uuid[]) WITH ORDINALITY AS a(id, n) RETURNING id)
     INSERT INTO "Policy" ("accountId", "updatedAt") SELECT id, now() FROM account`,
    [accountIds()]
  )
  for (let from = 0; from < enrolled; from += CHUNK) {
    const chunk = Array.from({ length: Math.min(CHUNK, enrolled - from) }, (_, n) =>
      userAt(from + n)
    )
    const column = (read: (user: (typeof chunk)[number]) => unknown) => chunk.map(read)
    await client.query(
      `WITH seed AS (
         SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::text[], $5::text[], $6::bytea[])
           AS s("accountId", "userId", id, email, sealed, secret)
       ), users AS (
         INSERT INTO "User" ("accountId", id, email, "passwordHash", "createdAt")
         SELECT "accountId", "userId", email, $7, now() FROM seed
       ), authenticators AS (
         INSERT INTO "Authenticator" ("accountId", "userId", id, name, "sealedSecret", "createdAt",
           "confirmedAt", "lastTimeStep")
         SELECT "accountId", "userId", id, 'Phone', sealed, now(), now(), 0 FROM seed
       ), codes AS (
         INSERT INTO "RecoveryCode" ("accountId", "userId", hash)
         SELECT "accountId", "userId", sha256((id::text || n)::bytea) FROM seed, generate_series(1, 10) n
       )
       INSERT INTO floor (account, id, secret) SELECT "accountId", "userId", secret FROM seed`,
      [
        column((user) => user.accountId),
        column((user) => user.userId),
        column((user) => user.authenticatorId),
        column((user) => user.email),
        column(({ accountId, userId, authenticatorId, secret }) =>
          sealer.seal(secret, [accountId, userId, authenticatorId])
        ),
        column((user) => sealForFloor(user.secret)),
        passwordHash
      ]
    )
  }
  const rest = Array.from({ length: notEnrolled }, (_, n) => userAt(enrolled + n))
  await client.query(
    `INSERT INTO "User" ("accountId", id, email, "passwordHash", "createdAt")
     SELECT *, $4, now() FROM unnest($1::uuid[], $2::uuid[], $3::text[])`,
    [
      rest.map((user) => user.accountId),
      rest.map((user) => user.userId),
      rest.map((user) => user.email),
      passwordHash
    ]
  )
  await client.query('VACUUM (ANALYZE)')
  await client.query('CHECKPOINT')
}

async function withClient(
  url: string,
  work: (client: pg.Client) => Promise<unknown>
): Promise<void> {
  const client = new pg.Client({ connectionString: url })
  await client.connect()
  try {
    await work(client)
  } finally {
    await client.end()
  }
}
