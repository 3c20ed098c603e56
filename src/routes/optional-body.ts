import type { FastifyRequest } from 'fastify'

/** Replaces a missing body with an empty object, for a route whose fields are all optional. */
export async function allowNoBody(request: FastifyRequest): Promise<void> {
  if (request.body === undefined) request.body = {}
}
