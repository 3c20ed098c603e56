// Traces for OpenTelemetry: a span for each request and one for its handler. Loaded only if a collector is configured.
import { FastifyOtelInstrumentation } from '@fastify/otel'
import { context, propagation, type Span, trace } from '@opentelemetry/api'
import { W3CTraceContextPropagator } from '@opentelemetry/core'
import { OTLPTraceExporter } from '@opentelemetry/exporter-trace-otlp-http'
import {
  detectResources,
  envDetector,
  type Resource,
  resourceFromAttributes,
  serviceInstanceIdDetector
} from '@opentelemetry/resources'
import { BatchSpanProcessor, NodeTracerProvider } from '@opentelemetry/sdk-trace-node'
import type { FastifyRequest } from 'fastify'
import fastifyPlugin from 'fastify-plugin'
import { createSpanExporter } from './span-exporter.ts'

export interface TracingOptions {
  /** The collector's URL for OTLP over HTTP. */
  url: string
  version: string
}

/** How long a stop waits for a collector that does not respond. */
const FLUSH_TIMEOUT_MS = 2000

/** Traces every route that is registered after it, except the probes, and adds the trace id to their log lines. */
export const tracing = fastifyPlugin<TracingOptions>(
  async (app, { url, version }) => {
    const exporter = createSpanExporter(new OTLPTraceExporter({ url }), app.log)
    const provider = new NodeTracerProvider({
      resource: resourceOf(version),
      spanProcessors: [new BatchSpanProcessor(exporter)]
    })
    // No baggage, because callers could put anything into it.
    provider.register({ propagator: new W3CTraceContextPropagator() })
    const instrumentation = new FastifyOtelInstrumentation({
      // Hooks take microseconds, and a span for each one would hide the others.
      instrumentHooks: false,
      recordExceptions: false,
      ignorePaths: ({ url: path }) => path.startsWith('/health/'),
      requestHook: nameSpan
    })
    instrumentation.setTracerProvider(provider)
    await app.register(instrumentation.plugin())

    app.addHook('onRequest', async (request, reply) => {
      const { span } = request.opentelemetry()
      if (!span) return
      request.log = request.log.child({ traceId: span.spanContext().traceId })
      reply.log = request.log
    })
    app.addHook('onSend', async (request) => {
      const { problem } = request
      if (problem) request.opentelemetry().span?.setAttribute('error.type', problem.code)
    })
    app.addHook('onClose', async () => {
      const patience = AbortSignal.timeout(FLUSH_TIMEOUT_MS)
      await Promise.race([provider.shutdown(), aborted(patience)])
      for (const api of [trace, context, propagation]) api.disable()
    })
  },
  { name: 'tracing' }
)

function nameSpan(span: Span, { id, method, routeOptions }: FastifyRequest): void {
  span.updateName(routeOptions.url ? `${method} ${routeOptions.url}` : method)
  span.setAttribute('twostep.request_id', id)
}

/** OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES override our own attributes. */
function resourceOf(version: string): Resource {
  const ours = resourceFromAttributes({ 'service.name': 'twostep', 'service.version': version })
  return ours.merge(detectResources({ detectors: [serviceInstanceIdDetector, envDetector] }))
}

async function aborted(signal: AbortSignal): Promise<void> {
  await new Promise((resolve) => signal.addEventListener('abort', resolve))
}
