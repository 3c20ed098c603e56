// Writes the database client (src/generated/prisma) from schema.prisma, without the network.
import { spawnSync } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { createRequire } from 'node:module'

const require = createRequire(import.meta.url)
const prisma = require('prisma/package.json')
const schema = readFileSync(new URL('schema.prisma', import.meta.url), 'utf8')

/** The client carries its schema and version inside, so it tells by itself whether it is current. */
function isCurrent(file) {
  if (!existsSync(file)) return false
  const client = readFileSync(file, 'utf8')
  return (
    client.includes(`"clientVersion": "${prisma.version}"`) &&
    client.includes(`"inlineSchema": ${JSON.stringify(schema)}`)
  )
}

// Half of `npm test`'s start would go into writing the same files again.
if (!isCurrent(new URL('../src/generated/prisma/internal/class.ts', import.meta.url))) {
  const cli = require.resolve('prisma/build/index.js')
  const { status } = spawnSync(process.execPath, [cli, 'generate', '--no-hints'], {
    env: {
      ...process.env,
      // Prisma insists on a schema engine, which this command never runs, and downloads one when
      // there is none. The variable must name a file that exists; Node's own binary does.
      PRISMA_SCHEMA_ENGINE_BINARY: process.execPath,
      CHECKPOINT_DISABLE: '1'
    },
    stdio: 'inherit'
  })
  process.exitCode = status ?? 1
}
