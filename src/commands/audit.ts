// `audit verify` checks that the audit trail is as it was written.
// Exit code 0: it is. 1: it is not, and the output names the first wrong row. 2: it could not be checked.
// `--head <sequence>:<hash>` also requires that the chain contains a head that was noted earlier. The database alone
// cannot show that the newest events were lost together with their links.

import '../settings/supported-node.ts'
import { parseArgs } from 'node:util'
import { type ChainHead, parseHead } from '../core/audit/chain.ts'
import { openDatabase } from '../data/engine/database.ts'
import { readEnvFile } from '../settings/env-file.ts'
import { readStorageConfig } from '../settings/existing-config.ts'
import { verifyAuditTrail } from './audit/verify.ts'
import { runCommand } from './run-command.ts'

const USAGE = 'usage: audit verify [--head <sequence>:<hash>]'

async function audit(): Promise<void> {
  const noted = readArguments()
  readEnvFile(process.env)
  const { databaseUrl, masterKeys } = readStorageConfig(process.env)
  const database = await openDatabase({ url: databaseUrl })
  try {
    const { prisma } = database
    const { isWhole, line } = await verifyAuditTrail({ prisma, masterKeys, noted })
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

await runCommand(audit, { onError: 'audit: not verified', errorCode: 2 })
