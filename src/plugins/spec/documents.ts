// The documents about the API that the service serves.
import swaggerUi from '@fastify/swagger-ui'
import type { FastifyInstance } from 'fastify'
import { stringify } from 'yaml'
import { listProblems, PAGE_POLICY, prefersPage, problemsPage } from './problems-page.ts'

/** Returns the spec as YAML 1.2 that also means the same in YAML 1.1, in which a bare `off` is false. */
export function yamlOf(document: object): string {
  return stringify(document, { compat: 'yaml-1.1' })
}

/** Serves the spec as JSON and YAML, the reference page and the list of problems. */
export async function documentRoutes(app: FastifyInstance): Promise<void> {
  const hidden = {
    config: { limit: 'address', credentials: 'none' },
    schema: { hide: true }
  } as const

  app.get('/openapi.json', hidden, async () => app.swagger())

  app.get('/openapi.yaml', hidden, async (_request, reply) =>
    reply.type('application/yaml').send(yamlOf(app.swagger()))
  )

  app.get('/docs/problems', hidden, async (request, reply) => {
    reply.header('vary', 'Accept')
    if (!prefersPage(request.headers.accept)) return { items: listProblems() }
    return reply
      .type('text/html; charset=utf-8')
      .header('content-security-policy', PAGE_POLICY)
      .send(problemsPage())
  })

  await app.register(async (docs) => {
    // The routes of the reference page. They contain nothing but the spec.
    docs.addHook('onRoute', (route) => {
      route.config = { ...route.config, limit: 'address', credentials: 'none' }
    })
    await docs.register(swaggerUi, {
      routePrefix: '/docs',
      staticCSP: true,
      // Over plain http, a browser would ask for the scripts of the page over https, where nothing listens.
      transformStaticCSP: (policy) => policy.replace(/ ?upgrade-insecure-requests;?/, '')
    })
  })
}
