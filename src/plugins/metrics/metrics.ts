// Numbers for Prometheus: what was answered, what waits, what is up. Loaded only where METRICS_PORT is set.
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

/** Counts what every route answers, and tells it on a port of its own from when the service is ready until it has closed. */
export const metrics = fastifyPlugin<MetricsOptions>(
  async (app, { port, host, version, ...options }) => {
    const registry = createRegistry()
    const instruments = createInstruments(registry)
    instruments.info.set({ version }, 1)
    countRequests(app, instruments)
    const states = createStates(instruments, options)

    // However many ask at once, and however slow the database is, the states are read by one of them for all.
    let reading: Promise<void> | null = null
    async function render(): Promise<string> {
      reading ??= states.read().finally(() => {
        reading = null
      })
      await reading
      return registry.metrics()
    }

    let server: Server | null = null
    // A port that can't be had stops the start; Fastify would forgive it after the service listens.
    app.addHook('onReady', async () => {
      server = await listenForScrapes({ port, host }, { contentType: registry.contentType, render })
      app.log.info({ host, port }, 'metrics are told at /metrics')
    })
    app.addHook('onClose', async () => {
      server?.close()
      server?.closeAllConnections()
    })
  },
  { name: 'metrics' }
)
