// A process that imports this file prints at its end which packages it has loaded for metrics and traces.
import { createRequire } from 'node:module'

const { cache } = createRequire(import.meta.url)
const WATCHED = /\/node_modules\/(prom-client|@opentelemetry\/[^/]+|@fastify\/otel)\//

process.on('exit', () => {
  const names = Object.keys(cache).flatMap((path) => WATCHED.exec(path)?.[1] ?? [])
  process.stdout.write(`\nloaded: [${[...new Set(names)].sort().join(' ')}]\n`)
})
