// Traces for OpenTelemetry: a span for each request and one for its handler. Loaded only where the environment asks for it.
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
  /** Where spans are sent, by OTLP over HTTP. */
  url: string
  version: string
}

/** A stop does not wait longer for a collector that takes nothing. */
const FLUSH_TIMEOUT_MS = 2000

/** Traces every route that is registered after it, but for the probes, and puts the trace into their log lines. */
export const tracing = fastifyPlugin<TracingOptions>(
  async (app, { url, version }) => {
    const exporter = createSpanExporter(new OTLPTraceExporter({ url }), app.log)
    const provider = new NodeTracerProvider({
      resource: resourceOf(version),
      spanProcessors: [new BatchSpanProcessor(exporter)]
    })
    // No baggage: what a caller writes into it is none of our business.
    provider.register({ propagator: new W3CTraceContextPropagator() })
    const instrumentation = new FastifyOtelInstrumentation({
      // The hooks take microseconds, and a span for each would bury the rest.
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

/** OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES have the last word. */
function resourceOf(version: string): Resource {
  const ours = resourceFromAttributes({ 'service.name': 'twostep', 'service.version': version })
  return ours.merge(detectResources({ detectors: [serviceInstanceIdDetector, envDetector] }))
}

async function aborted(signal: AbortSignal): Promise<void> {
  await new Promise((resolve) => signal.addEventListener('abort', resolve))
}
