// The file `.env`, for development. A deployment sets its variables itself.
import { existsSync } from 'node:fs'

/**
 * Adds the variables of `.env` in the working folder to the environment of the process, which the caller passes. A variable that the environment already has keeps
 * its value. Does nothing without the file, or if NODE_ENV is `production` or `test`.
 */
export function readEnvFile({ NODE_ENV }: NodeJS.ProcessEnv): void {
  if (NODE_ENV === 'production' || NODE_ENV === 'test' || !existsSync('.env')) return
  process.loadEnvFile()
}
