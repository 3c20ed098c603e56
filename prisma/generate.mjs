// Writes the database client (src/generated/prisma) from schema.prisma, without the network.
import { spawnSync } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { createRequire } from 'node:module'

const require = createRequire(import.meta.url)

// Every `npm run` begins with this file, and an old Node fails in it. src/settings/supported-node.ts checks the whole range.
const range = require('../package.json').engines.node
const { node } = process.versions
if (Number.parseInt(node, 10) < Number.parseInt(range.slice(1), 10)) {
  process.stderr.write(`twostep needs Node ${range}, and this is Node ${node}\n`)
  process.exit(1)
}

const prisma = require('prisma/package.json')
const schema = readFileSync(new URL('schema.prisma', import.meta.url), 'utf8')

/** Returns whether the generated client is current. The client contains its schema and version. */
function isCurrent(file) {
  if (!existsSync(file)) return false
  const client = readFileSync(file, 'utf8')
  return (
    client.includes(`"clientVersion": "${prisma.version}"`) &&
    client.includes(`"inlineSchema": ${JSON.stringify(schema)}`)
  )
}

// Writing the same files again would take half of the start-up time of `npm test`.
if (!isCurrent(new URL('../src/generated/prisma/internal/class.ts', import.meta.url))) {
  const cli = require.resolve('prisma/build/index.js')
  const { status } = spawnSync(process.execPath, [cli, 'generate', '--no-hints'], {
    env: {
      ...process.env,
      // Prisma requires a schema engine, although this command never runs it, and downloads one if
      // it is missing. The variable must name a file that exists, so Node's own binary is enough.
      PRISMA_SCHEMA_ENGINE_BINARY: process.execPath,
      CHECKPOINT_DISABLE: '1'
    },
    stdio: 'inherit'
  })
  process.exitCode = status ?? 1
}
