// Reduces spans to harmless attributes before they are sent. The instrumentation adds much to spans, such as the query of a
// URL and the text of an error, and its next version may add more. So only a fixed list of attributes is kept.
import { SpanStatusCode } from '@opentelemetry/api'
import { ExportResultCode } from '@opentelemetry/core'
import type { ReadableSpan, SpanExporter } from '@opentelemetry/sdk-trace-node'
import type { FastifyBaseLogger } from 'fastify'

/** Words of the code, numbers and ids of the service. The path is not among them, because it may contain a credential. */
const ATTRIBUTES = [
  'http.request.method',
  'http.route',
  'http.response.status_code',
  'error.type',
  'twostep.request_id',
  'fastify.type',
  'hook.name',
  'hook.callback.name'
]

/** Exports the harmless part of each span. Logs once when the collector fails and once when it recovers. */
export function createSpanExporter(exporter: SpanExporter, log: FastifyBaseLogger): SpanExporter {
  let isFailing = false
  return {
    export(spans, done) {
      exporter.export(spans.map(harmlessPartOf), (result) => {
        const hasFailed = result.code === ExportResultCode.FAILED
        if (hasFailed && !isFailing) log.warn({ err: result.error }, 'trace export failed')
        if (!hasFailed && isFailing) log.info('trace export recovered')
        isFailing = hasFailed
        done(result)
      })
    },
    shutdown: () => exporter.shutdown(),
    forceFlush: async () => exporter.forceFlush?.()
  }
}

function harmlessPartOf(span: ReadableSpan): ReadableSpan {
  const kept = ATTRIBUTES.flatMap((name) => {
    const value = span.attributes[name]
    return value === undefined ? [] : [[name, value] as const]
  })
  // A rejected code is no error of the service (OpenTelemetry's conventions for HTTP server spans).
  const isFault = Number(span.attributes['http.response.status_code']) >= 500
  const status = { code: isFault ? SpanStatusCode.ERROR : SpanStatusCode.UNSET }
  return Object.create(span, {
    attributes: { value: Object.fromEntries(kept) },
    status: { value: status },
    events: { value: [] }
  })
}
