// Probes for load balancers and orchestrators.
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import { Type } from 'typebox'
import { unavailable } from '../../wire/problem.ts'
import type { RequestOf, RouteDefinition } from '../definitions.ts'

interface HealthOptions {
  /** A probe for each dependency, by name. A probe throws if the dependency cannot serve. */
  dependencies: Record<string, () => Promise<void>>
  /** Aborted when the service is asked to stop. */
  stopping: AbortSignal
}

const GET_LIVENESS = {
  config: { limit: 'none', credentials: 'none' },
  schema: {
    operationId: 'getLiveness',
    summary: 'Check that the process runs',
    description: 'Returns 200 while the process runs. It does not check any dependency.',
    tags: ['Health'],
    response: { 200: Type.Object({ status: Type.Literal('live') }) }
  }
} as const satisfies RouteDefinition

const GET_READINESS = {
  config: { limit: 'none', credentials: 'none' },
  schema: {
    operationId: 'getReadiness',
    summary: 'Check that the service is ready',
    description:
      'Returns 200 if every dependency responds, and otherwise 503 with the names of the failed dependencies in `detail`. A stopping service returns 503 too, although it still serves other requests.',
    tags: ['Health'],
    response: { 200: Type.Object({ status: Type.Literal('ready') }) }
  }
} as const satisfies RouteDefinition

const healthRoutes: FastifyPluginAsyncTypebox<HealthOptions> = async (
  app,
  { dependencies, stopping }
) => {
  app.get('/health/live', GET_LIVENESS, getLiveness)
  app.get('/health/ready', GET_READINESS, getReadiness)

  async function getLiveness() {
    return { status: 'live' as const }
  }

  async function getReadiness(request: RequestOf<typeof GET_READINESS>) {
    if (stopping.aborted) throw unavailable({ detail: 'Not ready: stopping.' })
    const names = Object.keys(dependencies)
    const probes = await Promise.allSettled(Object.values(dependencies).map((probe) => probe()))
    const failed = probes.flatMap((probe, index) => {
      if (probe.status === 'fulfilled') return []
      const dependency = names[index]
      request.log.error({ err: probe.reason, dependency }, 'dependency not ready')
      return [dependency]
    })
    if (failed.length === 0) return { status: 'ready' as const }
    throw unavailable({ detail: `Not ready: ${failed.join(', ')}.` })
  }
}

export default healthRoutes
