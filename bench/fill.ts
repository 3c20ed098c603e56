// A database with so many enrolled users, as the service itself would have left it, and the same people for the floor.
import pg from 'pg'
import { createSealer } from '../src/crypto/sealing.ts'
import { openDatabase } from '../src/data/engine/database.ts'
import { sealedForFloor } from './floor-secrets.ts'
import { MASTER_KEYS } from './keys.ts'
import { accountIds, personAt } from './people.ts'

/** Of people. Each stays within the time limit of a statement. */
const CHUNK = 5000
const sealer = createSealer(MASTER_KEYS, 'authenticator-secret')

export interface Population {
  /** With an authenticator and ten recovery codes. */
  people: number
  /** Without; their numbers come after the others. */
  newcomers: number
  /** Everybody's. */
  passwordHash: string
}

/** Makes the database, migrates and fills it, and answers its URL. Drops one of the same name first. */
export async function makeDatabase(
  serverUrl: string,
  name: string,
  population: Population
): Promise<string> {
  await onServer(serverUrl, async (client) => {
    await client.query(`DROP DATABASE IF EXISTS ${name} WITH (FORCE)`)
    await client.query(`CREATE DATABASE ${name}`)
  })
  const url = new URL(serverUrl)
  url.pathname = `/${name}`
  const database = await openDatabase({ url: url.href })
  await database.migrate()
  await database.close()
  await onServer(url.href, (client) => fill(client, population))
  return url.href
}

export async function dropDatabase(serverUrl: string, name: string): Promise<void> {
  await onServer(serverUrl, (client) =>
    client.query(`DROP DATABASE IF EXISTS ${name} WITH (FORCE)`)
  )
}

/** Codes work once: this makes everybody's current one good again. */
export async function forgetTimeSteps(databaseUrl: string): Promise<void> {
  await onServer(databaseUrl, async (client) => {
    await client.query('UPDATE "Authenticator" SET "lastTimeStep" = 0')
    await client.query('UPDATE floor SET "lastTimeStep" = 0')
  })
}

/** What a server does by itself in time: the measurement should not depend on when it comes to it. */
export async function vacuum(databaseUrl: string): Promise<void> {
  await onServer(databaseUrl, (client) => client.query('VACUUM (ANALYZE)'))
}

async function fill(
  client: pg.Client,
  { people, newcomers, passwordHash }: Population
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
  for (let from = 0; from < people; from += CHUNK) {
    const chunk = Array.from({ length: Math.min(CHUNK, people - from) }, (_, n) =>
      personAt(from + n)
    )
    const column = (read: (person: (typeof chunk)[number]) => unknown) => chunk.map(read)
    await client.query(
      `WITH person AS (
         SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::text[], $5::text[], $6::bytea[])
           AS p("accountId", "userId", id, email, sealed, secret)
       ), users AS (
         INSERT INTO "User" ("accountId", id, email, "passwordHash", "createdAt")
         SELECT "accountId", "userId", email, $7, now() FROM person
       ), authenticators AS (
         INSERT INTO "Authenticator" ("accountId", "userId", id, name, "sealedSecret", "createdAt",
           "confirmedAt", "lastTimeStep")
         SELECT "accountId", "userId", id, 'Phone', sealed, now(), now(), 0 FROM person
       ), codes AS (
         INSERT INTO "RecoveryCode" ("accountId", "userId", hash)
         SELECT "accountId", "userId", sha256((id::text || n)::bytea) FROM person, generate_series(1, 10) n
       )
       INSERT INTO floor (account, id, secret) SELECT "accountId", "userId", secret FROM person`,
      [
        column((person) => person.accountId),
        column((person) => person.userId),
        column((person) => person.authenticatorId),
        column((person) => person.email),
        column(({ accountId, userId, authenticatorId, secret }) =>
          sealer.seal(secret, [accountId, userId, authenticatorId])
        ),
        column((person) => sealedForFloor(person.secret)),
        passwordHash
      ]
    )
  }
  const rest = Array.from({ length: newcomers }, (_, n) => personAt(people + n))
  await client.query(
    `INSERT INTO "User" ("accountId", id, email, "passwordHash", "createdAt")
     SELECT *, $4, now() FROM unnest($1::uuid[], $2::uuid[], $3::text[])`,
    [
      rest.map((person) => person.accountId),
      rest.map((person) => person.userId),
      rest.map((person) => person.email),
      passwordHash
    ]
  )
  await client.query('VACUUM (ANALYZE)')
  await client.query('CHECKPOINT')
}

async function onServer(url: string, work: (client: pg.Client) => Promise<unknown>): Promise<void> {
  const client = new pg.Client({ connectionString: url })
  await client.connect()
  try {
    await work(client)
  } finally {
    await client.end()
  }
}
