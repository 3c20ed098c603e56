// A complete production environment, and how a test states that one changed value is rejected.
import { randomBytes } from 'node:crypto'
import type { Test } from 'tap'
import { type Config, parseConfig } from '../../src/settings/config.ts'
import { ConfigError } from '../../src/settings/config-error.ts'
import { readEnvironment } from '../../src/settings/environment.ts'

export const OPERATOR_ID = 'abc0123def45'
export const OPERATOR_SECRET = randomBytes(32).toString('base64url')
export const base64Key = () => randomBytes(32).toString('base64')
export const MASTER_KEY = base64Key()

/** Everything that production requires. */
export const COMPLETE = {
  NODE_ENV: 'production',
  DATABASE_URL: 'postgresql://service:hunter2@db.internal:5432/twostep',
  MASTER_KEYS: `k1:${MASTER_KEY}`,
  ISSUER: 'https://id.example.com',
  OPERATOR_KEY: `tso_${OPERATOR_ID}_${OPERATOR_SECRET}`
}

/** The keys of a development start that makes none itself. */
export const KEYS = { MASTER_KEYS: COMPLETE.MASTER_KEYS, OPERATOR_KEY: COMPLETE.OPERATOR_KEY }

/** Reads and parses an environment, as a start does. */
export function configOf(env: NodeJS.ProcessEnv): Config {
  return parseConfig(readEnvironment(env))
}

/** Returns the message of the error. Fails the test unless it is a ConfigError that starts with the key. */
export function refusal(t: Test, key: string, env: NodeJS.ProcessEnv): string {
  try {
    configOf(env)
  } catch (error) {
    t.type(error, ConfigError, `${key} is rejected`)
    t.match((error as Error).message, new RegExp(`^${key}\\b`), 'the message starts with the key')
    return (error as Error).message
  }
  t.fail(`${key} is accepted`)
  return ''
}

/** Asserts that each value is rejected, and that no message shows a part of it. */
export function assertRejected(t: Test, rejected: Record<string, readonly string[]>): void {
  for (const [key, values] of Object.entries(rejected)) {
    for (const value of values) {
      const message = refusal(t, key, { ...COMPLETE, [key]: value })
      for (const part of [...revealingParts(value), 'hunter2']) {
        t.notOk(message.includes(part), message)
      }
    }
  }
}

/** Returns the parts of a value that no message contains by itself, as it does "*" or "postgresql". */
function revealingParts(value: string): string[] {
  return value
    .split(/[,;:@]/)
    .filter((part) => part.length > 8)
    .map((part) => part.trim())
    .filter((part) => part !== 'postgresql')
}
