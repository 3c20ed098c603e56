// The real service on a real port, with a database in memory. It leaves nothing behind when it stops.
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { rm } from 'node:fs/promises'
import { type AddressInfo, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { PGlite } from '@electric-sql/pglite'
import { buildApp } from '../../app.ts'
import { formatBearerKey } from '../../core/bearer-keys.ts'
import { generateOperatorKey } from '../../crypto/secrets.ts'
import { openDatabase } from '../../data/engine/database.ts'
import { parseConfig } from '../../settings/config.ts'
import { readEnvironment } from '../../settings/environment.ts'

export interface Deployment {
  /** The URL of the service, which is also its issuer. */
  url: string
  operatorKey: string
  stop(): Promise<void>
}

/** Starts the same service as `npm start`, on a free port and with its own keys. */
export async function startDeployment(): Promise<Deployment> {
  const port = await freePort()
  const operatorKey = formatBearerKey(generateOperatorKey())
  // The first mail would create this folder. The database itself is in memory.
  const folder = join(tmpdir(), `twostep-demo-${randomBytes(6).toString('hex')}`)
  const environment = readEnvironment({
    DATABASE_URL: `pglite:${folder}`,
    MASTER_KEYS: `demo:${randomBytes(32).toString('base64')}`,
    OPERATOR_KEY: operatorKey,
    PORT: String(port),
    ISSUER: `http://127.0.0.1:${port}`
  })
  const config = parseConfig(environment)
  const database = await openDatabase({ url: 'pglite:memory', pglite: new PGlite() })
  try {
    await database.migrate()
    const app = await buildApp({ config, database, now: () => new Date() })
    await app.listen({ port, host: '127.0.0.1' })
    const stop = async () => {
      await app.close()
      await database.close()
      await rm(folder, { recursive: true, force: true })
    }
    return { url: config.issuer, operatorKey, stop }
  } catch (error) {
    await database.close()
    throw error
  }
}

// The issuer is part of every access token, so the port must be known before the service listens on it.
async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  server.close()
  await once(server, 'close')
  return port
}
