import type { FastifyInstance } from 'fastify'
import type { Answer } from './calls.ts'

interface Schema {
  $ref?: string
  oneOf?: Schema[]
}

export interface Operation {
  operationId: string
  summary: string
  tags: string[]
  security: Record<string, string[]>[]
  parameters?: { name: string; in: string; required?: boolean; schema: object }[]
  requestBody?: { required?: boolean; content: Record<string, { schema: object }> }
  responses: Record<
    string,
    { description: string; content?: Record<string, { schema: Schema }>; headers?: object }
  >
}

export interface Spec {
  openapi: string
  info: { title: string; version: string }
  paths: Record<string, Record<string, Operation>>
  components: { schemas: Record<string, object>; securitySchemes: Record<string, object> }
}

export const PROBLEM_MEDIA_TYPE = 'application/problem+json'

export function specOf(app: FastifyInstance): Spec {
  return JSON.parse(JSON.stringify(app.swagger()))
}

/** Returns the name of a problem's schema: `code-rejected` -> `CodeRejectedProblem`. */
export function problemSchemaName(code: string): string {
  return `${code.replace(/(^|-)([a-z])/g, (_, _dash, letter) => letter.toUpperCase())}Problem`
}

/** Returns the problems that an operation documents for a status, by the names of their schemas. */
export function documentedProblems({ responses }: Operation, status: number | string): string[] {
  const schema = responses[status]?.content?.[PROBLEM_MEDIA_TYPE]?.schema
  const choices = schema?.oneOf ?? (schema ? [schema] : [])
  return choices.map(({ $ref = '' }) => $ref.replace('#/components/schemas/', ''))
}

/**
 * Checks every response that a test gets against the spec: its status, its media type, its problem code and its headers must
 * be documented for the operation. Throws if they are not, and for an internal error, so no test can overlook one.
 */
export function createContractCheck(app: FastifyInstance) {
  const routes = Object.entries(specOf(app).paths).map(([template, operations]) => ({
    pattern: new RegExp(`^${template.replaceAll('.', '\\.').replace(/\{[^}]+\}/g, '[^/]+')}$`),
    template,
    operations
  }))

  return (method: string, url: string, answer: Answer): void => {
    const [path = ''] = url.split('?')
    const route = routes.find(({ pattern }) => pattern.test(path))
    const operation = route?.operations[method.toLowerCase()]
    const what = operation && undocumentedIn(operation, answer)
    if (what) throw new Error(`${method} ${path} undocumented: ${what}: ${answer.body}`)
  }
}

/** Headers of a response that a client acts on. */
const DESCRIBED =
  /^(etag|location|retry-after|www-authenticate|ratelimit-.+|idempotent-.+|cache-control|x-request-id)$/

function undocumentedHeader(documented: object, sent: Answer['headers']): string | undefined {
  const names = Object.keys(documented).map((name) => name.toLowerCase())
  return Object.keys(sent).find((name) => DESCRIBED.test(name) && !names.includes(name))
}

/** Returns the part of a response that the operation does not document, or null. */
function undocumentedIn(operation: Operation, { statusCode, headers, body }: Answer) {
  const mediaType = String(headers['content-type'] ?? '').split(';')[0] ?? ''
  const documented = operation.responses[statusCode]
  if (!documented || statusCode === 500) return statusCode
  const header = undocumentedHeader(documented.headers ?? {}, headers)
  if (header !== undefined) return header
  if (body !== '' && !documented.content?.[mediaType]) return mediaType
  if (mediaType !== PROBLEM_MEDIA_TYPE) return null
  const { code } = JSON.parse(body)
  const isDocumented = documentedProblems(operation, statusCode).includes(problemSchemaName(code))
  return isDocumented ? null : code
}
