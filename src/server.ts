// The process edge: environment in, signals in, a listening service out.
import { setTimeout as sleep } from 'node:timers/promises'
import closeWithGrace from 'close-with-grace'
import type { Logger } from 'pino'
import { buildApp } from './app.ts'
import { openDatabase } from './data/engine/database.ts'
import { untilAvailable } from './data/engine/database-wait.ts'
import { type Config, ConfigError, loadConfig } from './settings/config.ts'
import type { LocalKeys } from './settings/local-keys.ts'
import { createLogger } from './settings/logging.ts'

/** How long what is under way may take to finish, once we don't listen any more. */
const SHUTDOWN_DEADLINE_MS = 10_000

try {
  await serve(loadConfig(process.env))
} catch (error) {
  // No logger yet, or none that could say it better: one line, and no stack for what the operator can mend.
  process.stderr.write(`twostep can't start: ${describe(error)}\n`)
  process.exit(1)
}

async function serve(config: Config): Promise<void> {
  const logger = createLogger(config.logLevel)
  if (config.newLocalKeys) announce(config.newLocalKeys)
  const database = await openDatabase({ url: config.databaseUrl, log: logger })
  try {
    await untilAvailable(database, {
      seconds: config.databaseWaitSeconds,
      onWait: (err) => logger.warn({ err }, 'waiting for the database')
    })
    const applied = await database.migrate()
    if (applied.length > 0) logger.info({ applied }, 'migrations applied')
    await listen(config, logger, database)
  } catch (error) {
    await database.close()
    throw error
  }
}

async function listen(
  config: Config,
  logger: Logger,
  database: Awaited<ReturnType<typeof openDatabase>>
): Promise<void> {
  const stopping = new AbortController()
  const app = await buildApp({
    ...{ config, database, logger },
    now: () => new Date(),
    stopping: stopping.signal
  })
  const delayMs = config.shutdownDelaySeconds * 1000
  closeWithGrace({ delay: delayMs + SHUTDOWN_DEADLINE_MS, logger }, async ({ signal, err }) => {
    stopping.abort()
    if (err) {
      logger.fatal(err, 'stopping after an error nobody caught')
    } else {
      logger.info({ signal }, 'stopping')
      // Whoever sends requests here hears of our end at the same time as we do, and goes on for a moment.
      await sleep(delayMs)
    }
    await app.close()
    await database.close()
  })
  await app.listen({ port: config.port, host: config.host })
}

// To the terminal and never to the log: this is the only time that the key is shown.
function announce({ operatorKey }: LocalKeys): void {
  process.stdout.write(
    `\nNew keys were made in the data folder. Your operator key, shown only now:\n\n  ${operatorKey}\n\n`
  )
}

function describe(error: unknown): string {
  if (error instanceof ConfigError) return error.message
  return error instanceof Error ? error.message : String(error)
}
