// Metrics for Prometheus: responses, queues, and the state of dependencies. Loaded only if METRICS_PORT is set.
import type { Server } from 'node:http'
import fastifyPlugin from 'fastify-plugin'
import { createInstruments } from './instruments.ts'
import { listenForScrapes } from './listener.ts'
import { createRegistry } from './registry.ts'
import { countRequests } from './requests.ts'
import { createStates, type StatesOptions } from './states.ts'

export interface MetricsOptions extends StatesOptions {
  port: number
  host: string
  version: string
}

/** Counts the responses of every route, and serves the metrics on a separate port until the service has closed. */
export const metrics = fastifyPlugin<MetricsOptions>(
  async (app, { port, host, version, ...options }) => {
    const registry = createRegistry()
    const instruments = createInstruments(registry)
    instruments.info.set({ version }, 1)
    countRequests(app, instruments)
    const states = createStates(instruments, options)

    // Concurrent scrapes share one read of the states, so that a slow database is not asked more often.
    let reading: Promise<void> | null = null
    async function render(): Promise<string> {
      reading ??= states.read().finally(() => {
        reading = null
      })
      await reading
      return registry.metrics()
    }

    let server: Server | null = null
    // If the port is in use, the start fails. After the service listens, Fastify would ignore the error.
    app.addHook('onReady', async () => {
      server = await listenForScrapes({ port, host }, { contentType: registry.contentType, render })
      app.log.info({ host, port, path: '/metrics' }, 'metrics listening')
    })
    app.addHook('onClose', async () => {
      server?.close()
      server?.closeAllConnections()
    })
  },
  { name: 'metrics' }
)
