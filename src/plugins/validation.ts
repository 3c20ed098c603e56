// How requests are validated. Bodies are taken as they are or refused: 123456 is not "123456". A query is text by
// nature, so there numbers are read from it.
import { AjvCompiler } from '@fastify/ajv-compiler'
import type { FastifySchemaCompiler } from 'fastify'

/** Strict for bodies, parameters and headers; the query alone is coerced. Nothing is silently dropped. */
export function createValidatorCompiler(): FastifySchemaCompiler<unknown> {
  const build = AjvCompiler()
  const options = { removeAdditional: false, useDefaults: true, allErrors: false }
  const strict = build({}, { customOptions: { ...options, coerceTypes: false } })
  const ofQuery = build({}, { customOptions: { ...options, coerceTypes: true } })
  return (route) => (route.httpPart === 'querystring' ? ofQuery(route) : strict(route))
}
