// `migrate` applies the missing migrations to the database that DATABASE_URL names.
// `--retry <name>` first marks a failed migration as rolled back, so that it is tried again.

import '../settings/supported-node.ts'
import { parseArgs } from 'node:util'
import { openDatabase } from '../data/engine/database.ts'
import { DEFAULT_DATABASE_URL } from '../settings/data-folder.ts'
import { readEnvFile } from '../settings/env-file.ts'
import { runCommand } from './run-command.ts'

async function migrate(): Promise<void> {
  readEnvFile(process.env)
  const { values } = parseArgs({ options: { retry: { type: 'string' } } })
  const database = await openDatabase({ url: process.env['DATABASE_URL'] ?? DEFAULT_DATABASE_URL })
  try {
    const applied = await database.migrate(values.retry ? { retry: values.retry } : {})
    console.log(applied.length ? applied.join('\n') : 'nothing to apply')
  } finally {
    await database.close()
  }
}

await runCommand(migrate, { onError: 'migrate', errorCode: 1 })
