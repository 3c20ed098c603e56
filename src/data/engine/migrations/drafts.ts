import { PGlite } from '@electric-sql/pglite'
import { PrismaPGlite } from 'pglite-prisma-adapter'
import type { MigrationConnection } from '../engine.ts'
import { everything, type Migration, migrationList, withSchemaEngine } from './schema-engine.ts'

/**
 * Returns the SQL that leads from the migrations to the schema (the text of schema.prisma), or undefined if the two
 * agree. Needs no database, because it replays the migrations in memory. Does not warn about data that the SQL would
 * delete. Throws if a migration or the schema is invalid.
 */
export async function draftMigration(
  schema: string,
  migrations: Migration[]
): Promise<string | undefined> {
  const pglite = await PGlite.create()
  try {
    return await withSchemaEngine(replayOn(pglite), async (schemaEngine) => {
      const { exitCode, stdout } = await schemaEngine.diff({
        from: { tag: 'migrations', ...migrationList('', migrations) },
        to: { tag: 'schemaDatamodel', files: [{ path: 'schema.prisma', content: schema }] },
        script: true,
        // Distinguishes "nothing to do" (0) from a script (2); without it both are 0.
        exitCode: true,
        filters: everything
      })
      return exitCode === 0 ? undefined : (stdout ?? undefined)
    })
  } finally {
    await pglite.close()
  }
}

// This instance serves only the replay, so it can be the shadow database too.
function replayOn(pglite: PGlite): MigrationConnection {
  const adapter = new PrismaPGlite(pglite)
  const connect = () => adapter.connect()
  return {
    adapter: {
      provider: adapter.provider,
      adapterName: adapter.adapterName,
      connect,
      connectToShadowDb: connect
    },
    runScript: async (sql) => {
      await pglite.exec(sql)
    }
  }
}
