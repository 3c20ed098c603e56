// Writes openapi.yaml from the routes. It builds the service with an empty database in memory and never listens.
import { randomBytes } from 'node:crypto'
import { writeFile } from 'node:fs/promises'
import { PGlite } from '@electric-sql/pglite'
import { buildApp } from '../app.ts'
import { formatBearerKey } from '../core/bearer-keys.ts'
import { generateOperatorKey } from '../crypto/secrets.ts'
import { openDatabase } from '../data/engine/database.ts'
import { yamlOf } from '../plugins/spec/documents.ts'
import { parseConfig } from '../settings/config.ts'
import { readEnvironment } from '../settings/environment.ts'

const config = parseConfig(
  readEnvironment({
    MASTER_KEYS: `spec:${randomBytes(32).toString('base64')}`,
    OPERATOR_KEY: formatBearerKey(generateOperatorKey()),
    ISSUER: 'https://auth.example.com'
  })
)
const database = await openDatabase({ url: 'pglite:memory', pglite: new PGlite() })
await database.migrate()
const app = await buildApp({ config, database, now: () => new Date() })
await writeFile(process.argv[2] ?? 'openapi.yaml', yamlOf(app.swagger()))
await app.close()
await database.close()
