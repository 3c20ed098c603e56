// What the service does by itself, beside answering. Every replica does all of it, so a job must bear company.
import { setTimeout as sleep } from 'node:timers/promises'
import type { FastifyBaseLogger } from 'fastify'
import fastifyPlugin from 'fastify-plugin'

export interface Job {
  /** As the log says it: `sending mails`. */
  name: string
  everySeconds: number
  /**
   * Resolves to true when there is more to do: it runs again at once. What it throws is logged, and forgiven. The
   * service closes once it has resolved, so what takes long heeds `stop`.
   */
  run(stop: AbortSignal): Promise<unknown>
}

export interface BackgroundOptions {
  jobs: readonly Job[]
  isDatabaseUnavailable: (error: unknown) => boolean
}

/** Runs each job from time to time, from when the service is ready until it closes; then a run under way is awaited. */
export const background = fastifyPlugin<BackgroundOptions>(
  async (app, { jobs, isDatabaseUnavailable }) => {
    const stop = new AbortController()
    let running: Promise<void>[] = []
    const stateOf = (error: unknown) => {
      return isDatabaseUnavailable(error) ? 'the database is away' : String(error)
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
  /** In which state of affairs an error leaves us: one line is logged for each new one. */
  stateOf: (error: unknown) => string
}

async function keepRunning({ name, everySeconds, run }: Job, { stop, log, stateOf }: Surroundings) {
  let trouble: string | null = null
  let isMoreToDo = false
  while (!stop.aborted) {
    if (!isMoreToDo) await pause(everySeconds, stop)
    if (stop.aborted) return
    try {
      isMoreToDo = (await run(stop)) === true
      if (trouble !== null) log.info({ job: name }, 'a background job works again')
      trouble = null
    } catch (error) {
      isMoreToDo = false
      const state = stateOf(error)
      if (state !== trouble) log.warn({ job: name, err: error }, 'a background job fails')
      trouble = state
    }
  }
}

/** Waits, or until it is told to stop; the process may end meanwhile. */
export async function pause(seconds: number, stop?: AbortSignal): Promise<void> {
  await sleep(seconds * 1000, undefined, { signal: stop, ref: false }).catch(() => {})
}
