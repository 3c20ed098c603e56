// Configuration for commands that only read. Never makes keys or a database.
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { parseStorageConfig, type StorageConfig } from './config.ts'
import { ConfigError } from './config-error.ts'
import { dataFolderOf } from './data-folder.ts'
import { readEnvironment } from './environment.ts'
import { readLocalKeys } from './local-keys.ts'

/** Returns where the database is, and its keys. Throws `ConfigError` if the embedded database or its keys are missing. */
export function readStorageConfig(env: NodeJS.ProcessEnv): StorageConfig {
  const environment = readEnvironment(env)
  const folder = dataFolderOf(environment.DATABASE_URL)
  const localKeys = environment.MASTER_KEYS === undefined ? readLocalKeys(folder) : null
  if (environment.MASTER_KEYS === undefined && localKeys === null) {
    throw new ConfigError(`MASTER_KEYS is not set, and there are no local keys in ${folder}`)
  }
  const config = parseStorageConfig(environment, localKeys)
  if (config.databaseUrl.startsWith('pglite:') && !existsSync(join(folder, 'pg'))) {
    throw new ConfigError(`there is no database in ${folder}`)
  }
  return config
}
