// Runs the background jobs. Every replica runs every job, so jobs must be safe to run concurrently.
import { setMaxListeners } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import type { FastifyBaseLogger } from 'fastify'
import fastifyPlugin from 'fastify-plugin'

export interface Job {
  /** The name in the log, such as `sending mails`. */
  name: string
  everySeconds: number
  /**
   * Resolves to true if more work is waiting: the job then runs again immediately. Errors are logged, and the job runs
   * again later. The service waits for the run before it closes, so a long run must end when `stop` is aborted.
   */
  run(stop: AbortSignal): Promise<unknown>
}

export interface BackgroundOptions {
  jobs: readonly Job[]
  isDatabaseUnavailable: (error: unknown) => boolean
}

/** Runs each job at its interval from when the service is ready until it closes, and then waits for the current runs. */
export const background = fastifyPlugin<BackgroundOptions>(
  async (app, { jobs, isDatabaseUnavailable }) => {
    const stop = new AbortController()
    // Each job listens while it waits.
    setMaxListeners(jobs.length, stop.signal)
    let running: Promise<void>[] = []
    const stateOf = (error: unknown) => {
      return isDatabaseUnavailable(error) ? 'database unavailable' : String(error)
    }
    app.addHook('onReady', async () => {
      running = jobs.map((job) => keepRunning(job, { stop: stop.signal, log: app.log, stateOf }))
    })
    app.addHook('preClose', async () => stop.abort())
    app.addHook('onClose', async () => {
      stop.abort()
      await Promise.all(running)
    })
  },
  { name: 'background' }
)

interface Surroundings {
  stop: AbortSignal
  log: FastifyBaseLogger
  /** Returns the state that an error indicates. Only a new state is logged. */
  stateOf: (error: unknown) => string
}

async function keepRunning({ name, everySeconds, run }: Job, { stop, log, stateOf }: Surroundings) {
  let failure: string | null = null
  let isMoreToDo = false
  while (!stop.aborted) {
    if (!isMoreToDo) await pause(everySeconds, stop)
    if (stop.aborted) return
    try {
      isMoreToDo = (await run(stop)) === true
      if (failure !== null) log.info({ job: name }, 'background job recovered')
      failure = null
    } catch (error) {
      isMoreToDo = false
      const state = stateOf(error)
      if (state !== failure) log.warn({ job: name, err: error }, 'background job failed')
      failure = state
    }
  }
}

/** Waits, or until `stop` is aborted. The wait does not keep the process running. */
export async function pause(seconds: number, stop?: AbortSignal): Promise<void> {
  await sleep(seconds * 1000, undefined, { signal: stop, ref: false }).catch(() => {})
}
