// Metrics and traces of the built service in a separate process, both switched on and switched off.
import t from 'tap'
import { ON_SERVER } from '../support/app.ts'
import { startCollector } from '../support/collector.ts'
import { createTestDatabase } from '../support/database.ts'
import { freePort } from '../support/processes.ts'
import { scrape } from '../support/scrape.ts'
import { failToStart, startServer } from '../support/server.ts'

const NODE_OPTIONS = `--import=${new URL('../support/loaded-packages.mjs', import.meta.url)}`

t.test('a process without metrics and traces loads no packages for them', ON_SERVER, async (t) => {
  const server = await startServer(t, { NODE_OPTIONS, DATABASE_URL: await createTestDatabase(t) })
  t.equal(await server.stop(), 0)
  t.match(server.output(), 'loaded: []')
})

t.test('metrics and traces are exported, and the last spans at the stop', ON_SERVER, async (t) => {
  const collector = await startCollector(t)
  const port = await freePort()
  const env = {
    ...{ NODE_OPTIONS, METRICS_PORT: String(port), DATABASE_URL: await createTestDatabase(t) },
    ...{ OTEL_EXPORTER_OTLP_ENDPOINT: collector.url, OTEL_SERVICE_NAME: 'sign-in' }
  }
  const server = await startServer(t, env)
  await fetch(`${server.url}/.well-known/jwks.json`)
  const samples = await scrape(port)
  t.ok(samples.some(({ labels }) => labels['route'] === '/.well-known/jwks.json'))

  const second = await failToStart(t, env)
  t.equal(second.code, 1, 'a port in use prevents the start')
  t.match(second.output, new RegExp(`^twostep can't start: listen EADDRINUSE.*:${port}\\n`, 'm'))

  t.equal(await server.stop(), 0)
  t.match(server.output(), /loaded: \[@fastify\/otel .*prom-client\]/)
  t.ok(collector.spans().some(({ name }) => name === 'GET /.well-known/jwks.json'))
  t.match(collector.received.join(''), '"stringValue":"sign-in"')
})
