// The configuration of the service, for who only reads: nothing is made here that is not there.
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { formatBearerKey } from '../core/bearer-keys.ts'
import { generateBearerKey } from '../crypto/secrets.ts'
import { type Config, ConfigError, dataFolder, loadConfig } from './config.ts'
import { hasLocalKeys } from './local-keys.ts'

/** Throws `ConfigError` as `loadConfig` does, and where the database or the keys of a development start are missing. */
export function readConfig(env: NodeJS.ProcessEnv): Pick<Config, 'databaseUrl' | 'masterKeys'> {
  const folder = dataFolder(env['DATABASE_URL'] ?? '')
  if (!env['MASTER_KEYS'] && !hasLocalKeys(folder)) {
    throw new ConfigError(`MASTER_KEYS is not set, and there are no local keys in ${folder}`)
  }
  // Nobody acts as the operator here; without a key, one would be made for the folder.
  const operatorKey = formatBearerKey(generateBearerKey('operator'))
  const { databaseUrl, masterKeys } = loadConfig({ ...env, OPERATOR_KEY: operatorKey })
  if (databaseUrl.startsWith('pglite:') && !existsSync(join(folder, 'pg'))) {
    throw new ConfigError(`there is no database in ${folder}`)
  }
  return { databaseUrl, masterKeys }
}
