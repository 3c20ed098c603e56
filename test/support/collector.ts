import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { text } from 'node:stream/consumers'
import type { Test } from 'tap'

export interface SentSpan {
  name: string
  kind: number
  traceId: string
  spanId: string
  parentSpanId?: string
  attributes: Record<string, unknown>
  status: { code: number; message?: string }
  events: unknown[]
}

interface OtlpSpan extends Omit<SentSpan, 'attributes'> {
  attributes: { key: string; value: Record<string, unknown> }[]
}

interface OtlpTraces {
  resourceSpans: { scopeSpans: { spans: OtlpSpan[] }[] }[]
}

/** Starts an OpenTelemetry collector that keeps the traces it receives by OTLP over HTTP as JSON. Ends with the test. */
export async function startCollector(t: Test) {
  const received: string[] = []
  let isRefusing = false
  const server = createServer(async (request, response) => {
    const body = await text(request)
    if (isRefusing) return response.writeHead(400).end()
    if (request.url === '/v1/traces') received.push(body)
    return response.writeHead(200, { 'content-type': 'application/json' }).end('{}')
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => {
    server.close()
    server.closeAllConnections()
  })
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    /** The bodies of all accepted requests, unchanged. */
    received,
    /** Rejects every request from now on, or accepts them again. */
    refuse: (refuses: boolean) => {
      isRefusing = refuses
    },
    spans: () => received.flatMap((body) => spansOf(JSON.parse(body)))
  }
}

function spansOf({ resourceSpans }: OtlpTraces): SentSpan[] {
  const spans = resourceSpans.flatMap(({ scopeSpans }) => scopeSpans.flatMap(({ spans }) => spans))
  return spans.map(({ attributes, ...span }) => ({
    ...span,
    attributes: Object.fromEntries(
      attributes.map(({ key, value }) => [key, Object.values(value)[0]])
    )
  }))
}
