// What of a span leaves the house. Instrumentation adds to spans what it finds, the query of a URL and the words of an
// error among it, and its next version may find more: so spans are cut down to a list of what is known to be harmless.
import { SpanStatusCode } from '@opentelemetry/api'
import { ExportResultCode } from '@opentelemetry/core'
import type { ReadableSpan, SpanExporter } from '@opentelemetry/sdk-trace-node'
import type { FastifyBaseLogger } from 'fastify'

/** Words of ours, numbers and our own ids. The path is not among them: somebody may have put a credential into it. */
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

/** Sends what is harmless of each span, and logs once when the collector goes away, and once when it is back. */
export function createSpanExporter(exporter: SpanExporter, log: FastifyBaseLogger): SpanExporter {
  let isTroubled = false
  return {
    export(spans, done) {
      exporter.export(spans.map(harmlessPartOf), (result) => {
        const hasFailed = result.code === ExportResultCode.FAILED
        if (hasFailed && !isTroubled) log.warn({ err: result.error }, 'traces are not taken')
        if (!hasFailed && isTroubled) log.info('traces are taken again')
        isTroubled = hasFailed
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
  // That a code was refused is no error of the service (OpenTelemetry's conventions for HTTP server spans).
  const isFault = Number(span.attributes['http.response.status_code']) >= 500
  const status = { code: isFault ? SpanStatusCode.ERROR : SpanStatusCode.UNSET }
  return Object.create(span, {
    attributes: { value: Object.fromEntries(kept) },
    status: { value: status },
    events: { value: [] }
  })
}
