// For load balancers and orchestrators: whether the process lives, and whether it can serve.
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import { Type } from 'typebox'
import { unavailable } from '../../wire/problem.ts'

export interface HealthOptions {
  /** Each dependency by name; its probe throws when it can't serve. */
  dependencies: Record<string, () => Promise<void>>
  /** Aborted once the service is told to stop. */
  stopping: AbortSignal
}

const health: FastifyPluginAsyncTypebox<HealthOptions> = async (
  app,
  { dependencies, stopping }
) => {
  app.get(
    '/health/live',
    {
      config: { limit: 'none', credentials: 'none' },
      schema: {
        operationId: 'getLiveness',
        summary: 'Whether the process lives',
        tags: ['Health'],
        response: { 200: Type.Object({ status: Type.Literal('live') }) }
      }
    },
    async () => ({ status: 'live' as const })
  )

  app.get(
    '/health/ready',
    {
      config: { limit: 'none', credentials: 'none' },
      schema: {
        operationId: 'getReadiness',
        summary: 'Whether everything the service depends on answers',
        description:
          'Otherwise 503; `detail` names what does not. 503 too once the service is told to stop, while it still answers.',
        tags: ['Health'],
        response: { 200: Type.Object({ status: Type.Literal('ready') }) }
      }
    },
    async (request) => {
      if (stopping.aborted) {
        throw unavailable({ detail: 'Not ready: stopping.' })
      }
      const names = Object.keys(dependencies)
      const probes = await Promise.allSettled(Object.values(dependencies).map((probe) => probe()))
      const failed = probes.flatMap((probe, index) => {
        if (probe.status === 'fulfilled') return []
        request.log.error(probe.reason, `${names[index]} is not ready`)
        return [names[index]]
      })
      if (failed.length === 0) return { status: 'ready' as const }
      throw unavailable({ detail: `Not ready: ${failed.join(', ')}.` })
    }
  )
}

export default health
