// The process edge: reads the environment, starts the service, and stops it on a signal.
import './settings/supported-node.ts'
import { setTimeout as sleep } from 'node:timers/promises'
import closeWithGrace from 'close-with-grace'
import type { Logger } from 'pino'
import { buildApp } from './app.ts'
import { type Database, openDatabase } from './data/engine/database.ts'
import { untilAvailable } from './data/engine/database-wait.ts'
import { type Config, parseConfig } from './settings/config.ts'
import { readEnvironment } from './settings/environment.ts'
import { type LocalKeys, openLocalKeys } from './settings/local-keys.ts'
import { createLogger } from './settings/logging.ts'

/** How long requests that are under way may take to finish after the service has stopped listening. */
const SHUTDOWN_DEADLINE_MS = 10_000

try {
  const environment = readEnvironment(process.env)
  const localKeys = openLocalKeys(environment)
  if (localKeys?.isNew) announce(localKeys.keys)
  await serve(parseConfig(environment, localKeys?.keys))
} catch (error) {
  // One line without a stack: the operator can fix the cause, and there may be no logger yet.
  const reason = error instanceof Error ? error.message : String(error)
  process.stderr.write(`twostep can't start: ${reason}\n`)
  process.exit(1)
}

async function serve(config: Config): Promise<void> {
  const logger = createLogger(config.logLevel)
  if (config.isProduction && config.databaseUrl.startsWith('pglite:')) {
    logger.warn(
      'embedded database in production: a crash of the machine loses acknowledged changes'
    )
  }
  const database = await openDatabase({ url: config.databaseUrl, log: logger })
  try {
    await untilAvailable(database, {
      seconds: config.databaseWaitSeconds,
      onWait: (err) => logger.warn({ err }, 'database unavailable')
    })
    const applied = await database.migrate()
    if (applied.length > 0) logger.info({ applied }, 'migrations applied')
    await listen(config, logger, database)
  } catch (error) {
    await database.close()
    throw error
  }
}

async function listen(config: Config, logger: Logger, database: Database): Promise<void> {
  const stopping = new AbortController()
  const app = await buildApp({
    config,
    database,
    logger,
    now: () => new Date(),
    stopping: stopping.signal
  })
  const delayMs = config.shutdownDelaySeconds * 1000
  closeWithGrace({ delay: delayMs + SHUTDOWN_DEADLINE_MS, logger }, async ({ signal, err }) => {
    stopping.abort()
    if (err) {
      logger.fatal(err, 'service stopping after an uncaught error')
    } else {
      logger.info({ signal }, 'service stopping')
      // Load balancers learn of the stop at the same time as this process, and still send requests for a moment.
      await sleep(delayMs)
    }
    await app.close()
    await database.close()
  })
  await app.listen({
    port: config.port,
    host: config.host,
    listenTextResolver: (address) => `service listening at ${address}`
  })
}

// To the terminal and never to the log: the key is shown only this once.
function announce({ operatorKey }: LocalKeys): void {
  process.stdout.write(
    `\nNew keys are in the data folder. This is your operator key. It is not shown again:\n\n  ${operatorKey}\n\n`
  )
}
