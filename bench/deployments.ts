// Starts the two systems under test: the service as in production, and the floor (bench/floor.ts).
import { FLOOR_KEY } from './floor-secrets.ts'
import { ISSUER, MASTER_KEYS_TEXT, OPERATOR_KEY, STEP_KEY } from './keys.ts'
import { type Server, startServer } from './servers.ts'

/** Starts the floor on the same database. */
export function startFloor(databaseUrl: string, env: NodeJS.ProcessEnv = {}): Promise<Server> {
  const loader = '--import=./test/support/typescript.mjs'
  return startServer([loader, 'bench/floor.ts'], {
    DATABASE_URL: databaseUrl,
    NODE_ENV: 'production',
    STEP_KEY,
    FLOOR_KEY,
    ISSUER,
    ...env
  })
}

/** Starts the service as in production, except that the request limit per address is out of reach. */
export function startTwostep(databaseUrl: string, env: NodeJS.ProcessEnv = {}): Promise<Server> {
  return startServer(['--max-semi-space-size=8', 'dist/server.js'], {
    DATABASE_URL: databaseUrl,
    NODE_ENV: 'production',
    MASTER_KEYS: MASTER_KEYS_TEXT,
    RATE_LIMIT_PER_MINUTE: '1000000',
    OPERATOR_KEY,
    ISSUER,
    ...env
  })
}
