// The declarations that every route makes in its `config`. The service does not start if a route lacks one.
import type { FastifyContextConfig, RouteOptions } from 'fastify'
import fastifyPlugin from 'fastify-plugin'
import type { AuditType, SignedAuditEvent } from '../core/audit/events.ts'

declare module 'fastify' {
  interface FastifyContextConfig {
    /** What a request to this route tries to do, for the audit trail. Every route that requires a credential has one. */
    act?: AuditType
  }
  interface FastifyRequest {
    /** The act, if the body names it more exactly than the route does. */
    act: AuditType | null
    /** The last audit event that was built for this request. The metrics count requests by it. */
    auditEvent: SignedAuditEvent | null
  }
}

/** Makes the start fail if a route lacks a declaration. The error names all of these routes. */
export const declarations = fastifyPlugin(
  async (app) => {
    app.decorateRequest('act', null)
    app.decorateRequest('auditEvent', null)
    const routes: RouteOptions[] = []
    app.addHook('onRoute', (route) => {
      routes.push(route)
    })
    app.addHook('onReady', async () => {
      const incomplete = routes.filter(({ config }) => !isDeclared(config))
      if (incomplete.length === 0) return
      const names = incomplete.map(({ method, url }) => `${method} ${url}`).join(', ')
      throw new Error(
        `${names} must declare who may call (config.credentials), how often (config.limit) and the act to audit (config.act)`
      )
    })
  },
  { name: 'declarations' }
)

/** A route that anyone may call needs no act. */
function isDeclared({ credentials, limit, act }: FastifyContextConfig = {}): boolean {
  return credentials !== undefined && limit !== undefined && (credentials === 'none' || !!act)
}
