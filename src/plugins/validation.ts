// Which bodies are read, and how requests are validated. Values are accepted as they are or rejected: 123456 is not
// "123456". A query string is text, so numbers in it are converted.
import { AjvCompiler } from '@fastify/ajv-compiler'
import type { FastifySchemaCompiler } from 'fastify'
import fastifyPlugin from 'fastify-plugin'

/** Leaves JSON as the only media type of a body. Fastify also reads plain text by default, which no route expects. */
export const jsonBodies = fastifyPlugin(
  async (app) => {
    app.removeContentTypeParser('text/plain')
  },
  { name: 'json-bodies' }
)

/** Validates every request by the schema of its route. */
export const validation = fastifyPlugin(
  async (app) => {
    app.setValidatorCompiler(createValidatorCompiler())
  },
  { name: 'validation' }
)

/** Strict for bodies, parameters and headers. Only the query string is coerced. Nothing is silently dropped. */
function createValidatorCompiler(): FastifySchemaCompiler<unknown> {
  const build = AjvCompiler()
  const options = { removeAdditional: false, useDefaults: true, allErrors: false }
  const strict = build({}, { customOptions: { ...options, coerceTypes: false } })
  const coercing = build({}, { customOptions: { ...options, coerceTypes: true } })
  return (route) => (route.httpPart === 'querystring' ? coercing(route) : strict(route))
}
