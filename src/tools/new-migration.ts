// Drafts the migration from prisma/migrations to prisma/schema.prisma, for review.

import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { runCommand } from '../commands/run-command.ts'
import { draftMigration } from '../data/engine/migrations/drafts.ts'
import { readMigrations } from '../data/engine/migrations/migrations.ts'

const prismaFolder = new URL('../../prisma/', import.meta.url)

async function writeMigration(name: string | undefined): Promise<void> {
  // The name becomes a folder and is stored in every database, so it must be plain and contain no path.
  if (!name || !/^[a-z][a-z0-9]*(_[a-z0-9]+)*$/.test(name) || name.length > 50) {
    throw new Error(
      'give the migration a name in snake_case, as in: npm run migration -- add_labels'
    )
  }
  const schema = await readFile(new URL('schema.prisma', prismaFolder), 'utf8')
  const sql = await draftMigration(schema, await readMigrations())
  if (!sql) {
    console.log('nothing written: the migrations already lead to schema.prisma')
    return
  }
  const stamp = new Date().toISOString().replace(/\D/g, '').slice(0, 14)
  const folder = new URL(`migrations/${stamp}_${name}/`, prismaFolder)
  await mkdir(folder, { recursive: true })
  await writeFile(new URL('migration.sql', folder), sql, { flag: 'wx' })
  console.log(
    `prisma/migrations/${stamp}_${name}/migration.sql written: review it before you apply it`
  )
}

await runCommand(() => writeMigration(process.argv[2]), { onError: 'migration', errorCode: 1 })
