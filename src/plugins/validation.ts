// Which bodies are read, and how requests are validated. Values are accepted as they are or rejected: 123456 is not
// "123456". A query string is text, so numbers in it are converted.
import { AjvCompiler } from '@fastify/ajv-compiler'
import type { FastifyRequest, FastifySchemaCompiler } from 'fastify'
import fastifyPlugin from 'fastify-plugin'
import { isUserAddress } from '../core/input/email-addresses.ts'
import { INPUT_FORMS, type InputForm } from '../core/input/input-forms.ts'
import { Problem } from '../wire/problem.ts'

/**
 * Leaves JSON as the only media type of a body, and no content coding. Fastify also reads plain text by default, which no
 * route expects. An empty body counts as no body, whatever its headers say: many clients always name a media type.
 */
export const bodies = fastifyPlugin(
  async (app) => {
    const parseJson = app.getDefaultJsonParser('error', 'error')
    app.removeContentTypeParser(['text/plain', 'application/json'])
    app.addContentTypeParser(
      'application/json',
      { parseAs: 'string' },
      (request, body: string, done) =>
        body === '' ? done(null, undefined) : parseJson(request, body, done)
    )
    app.addHook('preParsing', (request, _reply, payload, done) => {
      if (!hasBody(request)) delete request.headers['content-type']
      else if (isEncoded(request)) return done(new Problem('unsupported-media-type'), payload)
      done(null, payload)
    })
  },
  { name: 'bodies' }
)

/** RFC 9112 §6.3: a request has a body if one of these headers says so. */
function hasBody({ headers }: FastifyRequest): boolean {
  return (headers['content-length'] ?? '0') !== '0' || headers['transfer-encoding'] !== undefined
}

function isEncoded({ headers }: FastifyRequest): boolean {
  return !/^\s*(identity)?\s*$/i.test(headers['content-encoding'] ?? '')
}

/** Validates every request by the schema of its route. */
export const validation = fastifyPlugin(
  async (app) => {
    app.setValidatorCompiler(createValidatorCompiler())
  },
  { name: 'validation' }
)

/** Brings a value to its input form, before any other keyword of its schema judges it. */
const INPUT_KEYWORD = {
  keyword: 'x-input',
  type: 'string',
  schemaType: 'string',
  before: 'maxLength',
  modifying: true,
  errors: false,
  validate(form: InputForm, text: string, _schema: unknown, context?: InputContext): boolean {
    if (context) context.parentData[context.parentDataProperty] = INPUT_FORMS[form](text)
    return true
  }
} as const

interface InputContext {
  parentData: Record<string | number, unknown>
  parentDataProperty: string | number
}

/** Strict for bodies, parameters and headers. Only the query string is coerced. Nothing is silently dropped. */
function createValidatorCompiler(): FastifySchemaCompiler<unknown> {
  const build = AjvCompiler()
  const keywords = [INPUT_KEYWORD]
  const formats = { 'idn-email': isUserAddress }
  const options = {
    keywords,
    formats,
    removeAdditional: false,
    useDefaults: true,
    allErrors: false
  }
  const strict = build({}, { customOptions: { ...options, coerceTypes: false } })
  const coercing = build({}, { customOptions: { ...options, coerceTypes: true } })
  return (route) => (route.httpPart === 'querystring' ? coercing(route) : strict(route))
}
