// What every route declares in its `config`. The service does not start while a route is silent about one of them.
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
    /** The last audit event that was built for this request. After a success or a refusal it is written. */
    auditEvent: SignedAuditEvent | null
  }
}

/** Stops the start with an error that names the routes that declare too little. */
export const declarations = fastifyPlugin(
  async (app) => {
    app.decorateRequest('act', null)
    app.decorateRequest('auditEvent', null)
    const routes: RouteOptions[] = []
    app.addHook('onRoute', (route) => {
      routes.push(route)
    })
    app.addHook('onReady', async () => {
      const silent = routes.filter(({ config }) => !isDeclared(config))
      if (silent.length === 0) return
      const names = silent.map(({ method, url }) => `${method} ${url}`).join(', ')
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
