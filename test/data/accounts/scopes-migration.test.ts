// The migration to the scopes of this release, on a database that the previous release has written.
import { cp, readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { PGlite } from '@electric-sql/pglite'
import t, { type Test } from 'tap'
import { type Database, openDatabase } from '../../../src/data/engine/database.ts'
import { createEmptyDatabase } from '../../support/database.ts'

const server = process.env['TEST_DATABASE_URL']
const migrations = fileURLToPath(new URL('../../../prisma/migrations', import.meta.url))
const NAME = '20261128075000_scopes_and_makers_of_api_keys'
const ACCOUNT = '0198c0de-7a51-7cc2-9a3b-000000000001'

/** Opens a database with the migrations of the previous release. */
async function openPrevious(t: Test): Promise<Database> {
  const url = server ? await createEmptyDatabase(t, server) : 'pglite:'
  const database = await openDatabase({ url, ...(!server && { pglite: await PGlite.create() }) })
  t.teardown(() => database.close())
  const folder = t.testdir()
  for (const name of await readdir(migrations)) {
    if (name < NAME) await cp(join(migrations, name), join(folder, name), { recursive: true })
  }
  await database.migrate({ folder })
  return database
}

/** Writes a key as the previous release did, with the audit event of its creation. */
async function createKey({ prisma }: Database, id: string, scopes: string[], maker?: string) {
  await prisma.$executeRaw`
    INSERT INTO "ApiKey" ("accountId", id, "secretHash", name, scopes, "createdAt")
    VALUES (${ACCOUNT}::uuid, ${id}, '\\x00', ${id}, ${scopes}, now())`
  const type = maker === undefined ? 'account.create' : 'api_key.create'
  await prisma.$executeRaw`
    INSERT INTO "AuditEvent" ("accountId", "occurredAt", id, type, outcome, "actorKind", "actorId", "targetKind",
      "targetId", address, "requestId", details, mac)
    VALUES (${ACCOUNT}::uuid, now(), gen_random_uuid(), ${type}, 'succeeded',
      ${maker === undefined ? 'operator' : 'api_key'}, ${maker ?? 'operator0001'}, 'api_key',
      ${maker === undefined ? ACCOUNT : id}, '192.0.2.1', gen_random_uuid(),
      ${JSON.stringify({ apiKey: maker === undefined ? id : null })}::json, '\\x00')`
}

t.test('existing keys get the scopes that match theirs, and their makers', async (t) => {
  const database = await openPrevious(t)
  const { prisma } = database
  const every = [
    ...['users:read', 'users:write', 'users:reset', 'login:assert', 'login:assert-sso'],
    ...['policy:read', 'policy:write', 'audit:read', 'introspect', 'keys:write']
  ]
  await prisma.$executeRaw`
    INSERT INTO "Account" (id, slug, name, audience, "createdAt")
    VALUES (${ACCOUNT}::uuid, 'acme', 'Acme', 'urn:acme', now())`
  await createKey(database, 'first', every)
  await createKey(database, 'second', ['policy:write', 'users:write', 'keys:write'], 'first')
  await createKey(database, 'revoked', ['users:write', 'keys:write'], 'second')
  await createKey(database, 'fourth', ['users:write'], 'revoked')
  await createKey(database, 'reader', ['users:read', 'policy:read'], 'first')
  await prisma.$executeRaw`DELETE FROM "ApiKey" WHERE id = 'revoked'`
  await database.migrate()

  const keys = await prisma.apiKey.findMany({
    select: { id: true, scopes: true, createdByKind: true, createdById: true, makers: true },
    orderBy: { id: 'asc' }
  })
  const byKey = (createdById: string, ...makers: string[]) => ({
    ...{ createdByKind: 'api_key', createdById },
    makers
  })
  t.same(keys, [
    {
      ...{ id: 'first', createdByKind: 'operator', createdById: 'operator0001', makers: [] },
      scopes: [...every, 'sso:write', 'admins:write', 'webhooks:write']
    },
    {
      ...{ id: 'fourth', scopes: ['users:write', 'admins:write'] },
      ...byKey('revoked', 'first', 'second', 'revoked')
    },
    { id: 'reader', scopes: ['users:read', 'policy:read'], ...byKey('first', 'first') },
    {
      ...{ id: 'second', ...byKey('first', 'first') },
      scopes: ['policy:write', 'users:write', 'keys:write', 'sso:write', 'admins:write']
    }
  ])
})
