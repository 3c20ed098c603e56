// `keys list`: every master key and what it seals, every signing key and when it signs; never a key itself.
// `keys rotate signing [--now]`: the next signing key. `keys rotate master`: all values under the first of MASTER_KEYS.
// Ends with 0 where that is done; with 1 where a value can't be opened or is left, saying which; with 2 where nothing
// could be done.

import { parseArgs } from 'node:util'
import { type Database, openDatabase } from '../data/engine/database.ts'
import { readStorageConfig } from '../settings/existing-config.ts'
import { type KeysOptions, listKeys } from './keys/list.ts'
import { rotateMaster } from './keys/rotate-master.ts'
import { rotateSigning } from './keys/rotate-signing.ts'

const USAGE = 'usage: keys list | keys rotate signing [--now] | keys rotate master'

type Command = (options: KeysOptions) => Promise<{ lines: string[]; trouble: string | null }>

const say = (line: string) => console.log(line)

const COMMANDS: Record<string, Command> = {
  list: listKeys,
  'rotate signing': (options) => rotateSigning(options),
  'rotate signing --now': (options) => rotateSigning(options, { isUrgent: true }),
  'rotate master': (options) => rotateMaster(options, { say })
}

async function keys(): Promise<void> {
  const command = readArguments()
  const { databaseUrl, masterKeys } = readStorageConfig(process.env)
  const database: Database = await openDatabase({ url: databaseUrl })
  try {
    const { lines, trouble } = await command({ prisma: database.prisma, masterKeys })
    for (const line of lines) say(line)
    if (trouble === null) return
    console.error(`keys: ${trouble}`)
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

try {
  await keys()
} catch (error) {
  const reason = error instanceof Error ? error.message : String(error)
  // One line, of whatever the database has to say.
  console.error(`keys: nothing done: ${reason.replace(/\s+/g, ' ').trim()}`)
  process.exitCode = 2
}
