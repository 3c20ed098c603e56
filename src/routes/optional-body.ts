import type { FastifyRequest } from 'fastify'

/** For a route whose members are all optional: the body is optional too. */
export async function allowNoBody(request: FastifyRequest): Promise<void> {
  if (request.body === undefined) request.body = {}
}
