// Keys for a start outside production whose environment lacks them. The first start makes them and keeps them in
// the data folder. They never reach the log.
import { randomBytes } from 'node:crypto'
import { existsSync, linkSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { formatBearerKey } from '../core/bearer-keys.ts'
import { generateOperatorKey } from '../crypto/secrets.ts'
import { ConfigError } from './config-error.ts'
import { dataFolderOf } from './data-folder.ts'
import type { Environment } from './environment.ts'

export interface LocalKeys {
  /** In the form of `MASTER_KEYS`. */
  masterKeys: string
  /** In the form of `OPERATOR_KEY`. */
  operatorKey: string
}

interface OpenedKeys {
  keys: LocalKeys
  /** Whether this start made them. */
  isNew: boolean
}

/** The name of the file in the data folder. */
export const LOCAL_KEYS_FILE = 'keys.json'

/**
 * Returns the keys of the data folder, and makes them if it has none. Returns null if the environment needs no local
 * keys: it has both keys, or it is production. Throws `ConfigError` if the folder can't keep them.
 */
export function openLocalKeys(environment: Environment): OpenedKeys | null {
  const { NODE_ENV, DATABASE_URL, MASTER_KEYS } = environment
  const missing = MASTER_KEYS === undefined ? 'MASTER_KEYS' : 'OPERATOR_KEY'
  if (NODE_ENV === 'production' || environment[missing] !== undefined) return null
  const folder = dataFolderOf(DATABASE_URL)
  try {
    return readOrMakeKeys(folder)
  } catch (error) {
    const { message } = error as Error
    throw new ConfigError(`${missing} is not set, and ${folder} can't keep local keys: ${message}`)
  }
}

/** Returns the keys of a folder. Makes them first if it has none (file mode 0600). Concurrent starts agree on one file. */
export function readOrMakeKeys(folder: string): OpenedKeys {
  const isNew = !existsSync(join(folder, LOCAL_KEYS_FILE)) && makeKeys(folder)
  return { keys: parseFile(folder), isNew }
}

/** Returns the keys of a folder, or null if it has none. */
export function readLocalKeys(folder: string): LocalKeys | null {
  return existsSync(join(folder, LOCAL_KEYS_FILE)) ? parseFile(folder) : null
}

function parseFile(folder: string): LocalKeys {
  const file = join(folder, LOCAL_KEYS_FILE)
  const text = readFileSync(file, 'utf8')
  try {
    return JSON.parse(text)
  } catch {
    // The error of JSON.parse quotes the text, which holds secrets.
    throw new ConfigError(`${file} is not JSON`)
  }
}

/** Returns false if another process made the file first. */
function makeKeys(folder: string): boolean {
  mkdirSync(folder, { recursive: true, mode: 0o700 })
  const file = join(folder, LOCAL_KEYS_FILE)
  const draft = `${file}.${process.pid}`
  const keys: LocalKeys = {
    masterKeys: `local:${randomBytes(32).toString('base64')}`,
    operatorKey: formatBearerKey(generateOperatorKey())
  }
  writeFileSync(draft, `${JSON.stringify(keys, null, 2)}\n`, { mode: 0o600 })
  try {
    // A hard link appears as a whole, and fails if the file exists.
    linkSync(draft, file)
    return true
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false
    throw error
  } finally {
    rmSync(draft)
  }
}
