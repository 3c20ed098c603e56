// Keys for a start without any, outside production: made once, kept in the data folder, never in the log.
import { randomBytes } from 'node:crypto'
import { existsSync, linkSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { formatBearerKey } from '../core/bearer-keys.ts'
import { generateBearerKey } from '../crypto/secrets.ts'

export interface LocalKeys {
  /** In the form of `MASTER_KEYS`. */
  masterKeys: string
  /** In the form of `OPERATOR_KEY`. */
  operatorKey: string
}

const FILE_NAME = 'keys.json'

/** The folder's keys, made when it has none (mode 0600). Processes that start at once agree on one file. */
export function readLocalKeys(folder: string): { keys: LocalKeys; isNew: boolean } {
  const file = join(folder, FILE_NAME)
  const isNew = !existsSync(file) && makeKeys(folder, file)
  return { keys: JSON.parse(readFileSync(file, 'utf8')), isNew }
}

/** Whether the folder has keys, for who must not make any. */
export function hasLocalKeys(folder: string): boolean {
  return existsSync(join(folder, FILE_NAME))
}

function makeKeys(folder: string, file: string): boolean {
  mkdirSync(folder, { recursive: true, mode: 0o700 })
  const draft = `${file}.${process.pid}`
  const keys: LocalKeys = {
    masterKeys: `local:${randomBytes(32).toString('base64')}`,
    operatorKey: formatBearerKey(generateBearerKey('operator'))
  }
  writeFileSync(draft, `${JSON.stringify(keys, null, 2)}\n`, { mode: 0o600 })
  try {
    // A link appears whole or not at all, and fails where another start was first.
    linkSync(draft, file)
    return true
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false
    throw error
  } finally {
    rmSync(draft)
  }
}
