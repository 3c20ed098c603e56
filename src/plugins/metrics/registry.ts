import { collectDefaultMetrics, Registry } from 'prom-client'

/** The metrics of a Node process to keep: load, memory, files and delays. prom-client has more, which no operator watches. */
const OF_THE_PROCESS = /^(process_|nodejs_(eventloop_lag|gc|heap_size|external_memory)_)/

/** Creates a registry with the metrics of the process. It is not prom-client's global registry. */
export function createRegistry(): Registry {
  const registry = new Registry()
  collectDefaultMetrics({ register: registry })
  const others = registry.getMetricsAsArray().filter(({ name }) => !OF_THE_PROCESS.test(name))
  for (const { name } of others) registry.removeSingleMetric(name)
  return registry
}
