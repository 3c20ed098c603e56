// `keys list` shows how many values each master key seals, and when each signing key signs. It never shows a key.
// `keys rotate signing [--now]` adds the next signing key. `keys rotate master` re-seals all values under the first key
// of MASTER_KEYS.
// Exit code 0: done. 1: a value is left or can't be unsealed, and the output names it. 2: nothing was done.

import '../settings/supported-node.ts'
import { parseArgs } from 'node:util'
import { type Database, openDatabase } from '../data/engine/database.ts'
import { readEnvFile } from '../settings/env-file.ts'
import { readStorageConfig } from '../settings/existing-config.ts'
import { type KeysOptions, listKeys } from './keys/list.ts'
import { rotateMaster } from './keys/rotate-master.ts'
import { rotateSigning } from './keys/rotate-signing.ts'
import { runCommand } from './run-command.ts'

const USAGE = 'usage: keys list | keys rotate signing [--now] | keys rotate master'

type Command = (options: KeysOptions) => Promise<{ lines: string[]; failure: string | null }>

const print = (line: string) => console.log(line)

const COMMANDS: Record<string, Command> = {
  list: listKeys,
  'rotate signing': (options) => rotateSigning(options),
  'rotate signing --now': (options) => rotateSigning(options, { isUrgent: true }),
  'rotate master': (options) => rotateMaster(options, { print })
}

async function keys(): Promise<void> {
  const command = readArguments()
  readEnvFile(process.env)
  const { databaseUrl, masterKeys } = readStorageConfig(process.env)
  const database: Database = await openDatabase({ url: databaseUrl })
  try {
    const { lines, failure } = await command({ prisma: database.prisma, masterKeys })
    for (const line of lines) print(line)
    if (failure === null) return
    console.error(`keys: ${failure}`)
    process.exitCode = 1
  } finally {
    await database.close()
  }
}

function readArguments(): Command {
  const options = { now: { type: 'boolean' } } as const
  const { positionals, values } = parseArgs({ options, allowPositionals: true })
  const command = COMMANDS[[...positionals, ...(values.now ? ['--now'] : [])].join(' ')]
  if (!command) throw new Error(USAGE)
  return command
}

await runCommand(keys, { onError: 'keys: nothing done', errorCode: 2 })
