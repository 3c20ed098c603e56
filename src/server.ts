// The process edge: reads the environment, starts the service, and stops it on a signal.
import './settings/supported-node.ts'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import closeWithGrace from 'close-with-grace'
import type { Logger } from 'pino'
import { buildApp } from './app.ts'
import { type Database, openDatabase } from './data/engine/database.ts'
import { untilAvailable } from './data/engine/database-wait.ts'
import { type Config, parseConfig } from './settings/config.ts'
import { dataFolderOf } from './settings/data-folder.ts'
import { readEnvFile } from './settings/env-file.ts'
import { type Environment, readEnvironment } from './settings/environment.ts'
import { LOCAL_KEYS_FILE, type LocalKeys, openLocalKeys } from './settings/local-keys.ts'
import { createLogger } from './settings/logging.ts'

/** How long requests that are under way may take to finish after the service has stopped listening. */
const SHUTDOWN_DEADLINE_MS = 10_000

try {
  readEnvFile(process.env)
  const environment = readEnvironment(process.env)
  const localKeys = openLocalKeys(environment)
  if (localKeys?.isNew) announce(localKeys.keys, environment)
  const url = await serve(parseConfig(environment, localKeys?.keys))
  if (process.stdout.isTTY) greet(url, environment)
} catch (error) {
  // One line without a stack: the operator can fix the cause, and there may be no logger yet.
  const reason = error instanceof Error ? error.message : String(error)
  process.stderr.write(`twostep can't start: ${reason}\n`)
  process.exit(1)
}

/** Returns the URL of the running service. */
async function serve(config: Config): Promise<string> {
  const logger = createLogger(config.logLevel)
  if (config.isProduction && config.databaseUrl.startsWith('pglite:')) {
    logger.warn(
      { reason: 'a crash of the machine loses the changes of the last seconds' },
      'embedded database in production'
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
    return await listen(config, logger, database)
  } catch (error) {
    await database.close()
    throw error
  }
}

async function listen(config: Config, logger: Logger, database: Database): Promise<string> {
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
  return app.listen({
    port: config.port,
    host: config.host,
    listenTextResolver: (address) => `service listening at ${address}`
  })
}

// To the terminal and never to the log: the key is shown only this once.
function announce({ operatorKey }: LocalKeys, { OPERATOR_KEY }: Environment): void {
  // The service accepts only one operator key.
  if (OPERATOR_KEY !== undefined) return
  process.stdout.write(
    `\nNew keys are in the data folder. This is your operator key. It is not shown again:\n\n  ${operatorKey}\n\n`
  )
}

// Only on a terminal. Programs read the log, in which every line is JSON.
function greet(url: string, { DATABASE_URL, OPERATOR_KEY }: Environment): void {
  const keyIsIn =
    OPERATOR_KEY === undefined
      ? join(dataFolderOf(DATABASE_URL), LOCAL_KEYS_FILE)
      : 'the variable OPERATOR_KEY'
  process.stdout.write(
    `\n  twostep is running at  ${url}\n  API reference          ${url}/docs\n  operator key           in ${keyIsIn}\n\n`
  )
}
