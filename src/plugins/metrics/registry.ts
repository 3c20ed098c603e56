import { collectDefaultMetrics, Registry } from 'prom-client'

/** Of what prom-client tells of any Node process: load, memory, files and delays. The rest is long, and watched by nobody. */
const OF_THE_PROCESS = /^(process_|nodejs_(eventloop_lag|gc|heap_size|external_memory)_)/

/** A registry of its own, never the one of the process, with the numbers of the process. */
export function createRegistry(): Registry {
  const registry = new Registry()
  collectDefaultMetrics({ register: registry })
  const others = registry.getMetricsAsArray().filter(({ name }) => !OF_THE_PROCESS.test(name))
  for (const { name } of others) registry.removeSingleMetric(name)
  return registry
}
