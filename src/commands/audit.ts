// `audit verify`: whether the record still is as it was written.
// Ends with 0 where it is; with 1 where it is not, naming the first row that is wrong; with 2 where that can't be told.
// `--head <sequence>:<hash>` wants a head that was noted earlier to be in the chain still: nobody can see from inside
// that the newest events have gone together with their seals.

import { parseArgs } from 'node:util'
import { type ChainHead, parseHead } from '../core/audit/chain.ts'
import { openDatabase } from '../data/engine/database.ts'
import { readStorageConfig } from '../settings/existing-config.ts'
import { verifyRecord } from './audit/verify.ts'

const USAGE = 'usage: audit verify [--head <sequence>:<hash>]'

async function audit(): Promise<void> {
  const noted = readArguments()
  const { databaseUrl, masterKeys } = readStorageConfig(process.env)
  const database = await openDatabase({ url: databaseUrl })
  try {
    const { isWhole, line } = await verifyRecord({ prisma: database.prisma, masterKeys, noted })
    console.log(line)
    process.exitCode = isWhole ? 0 : 1
  } finally {
    await database.close()
  }
}

function readArguments(): ChainHead | null {
  const options = { head: { type: 'string' } } as const
  const { positionals, values } = parseArgs({ options, allowPositionals: true })
  if (positionals.join(' ') !== 'verify') throw new Error(USAGE)
  if (values.head === undefined) return null
  const noted = parseHead(values.head)
  if (!noted) throw new Error(USAGE)
  return noted
}

try {
  await audit()
} catch (error) {
  const reason = error instanceof Error ? error.message : String(error)
  // One line, of whatever the database has to say.
  console.error(`audit: not verified: ${reason.replace(/\s+/g, ' ').trim()}`)
  process.exitCode = 2
}
