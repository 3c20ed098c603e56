// Generates openapi.yaml from the routes. Each route declares its schema, credentials and problems once, and nothing is added.
import { STATUS_CODES } from 'node:http'
import swagger from '@fastify/swagger'
import type { FastifySchema, RouteOptions } from 'fastify'
import fastifyPlugin from 'fastify-plugin'
import { Type } from 'typebox'
import { NAMED_SCHEMAS } from '../../wire/named-schemas.ts'
import { PROBLEM_CODES, type ProblemCode, problemKind } from '../../wire/problems.ts'
import type { CredentialRule } from '../credentials.ts'
import { PROBLEM_MEDIA_TYPE } from '../problem-handling.ts'
import { documentRoutes } from './documents.ts'
import { nameObjects, type SpecDocument } from './named-objects.ts'
import { describeHeaders } from './response-headers.ts'

declare module 'fastify' {
  interface FastifyContextConfig {
    /** The problems of the route, without the ones that its credentials and its body imply. */
    problems?: readonly ProblemCode[]
  }
}

export interface SpecOptions {
  version: string
}

/** A response as routes declare it: its schema with its headers. */
interface ResponseSchema {
  type?: string
  headers?: object
}

const DESCRIPTION = `Two-step sign-in for any product: a password, then a code from an authenticator app.

Every failure is an RFC 9457 problem document with a stable \`code\`. \`GET /docs/problems\` lists all problems with their cures.`

const SECURITY_SCHEMES = {
  operatorKey: {
    type: 'http',
    scheme: 'bearer',
    description:
      'The operator key, `tso_<id>_<secret>`. It belongs to the operator of the deployment.'
  },
  apiKey: {
    type: 'http',
    scheme: 'bearer',
    description:
      'An API key, `tsk_<id>_<secret>`. It belongs to a back-end service of one account and has scopes.'
  },
  stepToken: {
    type: 'http',
    scheme: 'bearer',
    bearerFormat: 'JWT',
    description:
      'A step token. It is accepted only by the routes of the second step, for which it was issued.'
  },
  accessToken: {
    type: 'http',
    scheme: 'bearer',
    bearerFormat: 'JWT',
    description:
      'An access token of a signed-in user (RFC 9068, ES256). It expires after 15 minutes.'
  }
} as const

const TAGS = [
  {
    name: 'Signing in',
    description: 'The steps of a sign-in, and the set-up of an authenticator.'
  },
  {
    name: 'Users',
    description: 'The users of the account, their authenticators, recovery codes and devices.'
  },
  {
    name: 'Policy',
    description: 'When the account requires two-factor, trusted devices and single sign-on.'
  },
  { name: 'Operator', description: 'Accounts and mandates, for the operator of the deployment.' },
  { name: 'API keys', description: 'The credentials of the back ends of an account.' },
  { name: 'Audit', description: 'The audit trail of the account.' },
  { name: 'Discovery', description: 'What a host needs to verify access tokens.' },
  { name: 'Health', description: 'Probes for load balancers and orchestrators.' }
]

export const spec = fastifyPlugin<SpecOptions>(
  async (app, { version }) => {
    for (const schema of NAMED_SCHEMAS) app.addSchema(schema)
    for (const code of PROBLEM_CODES) app.addSchema(problemSchema(code))
    await app.register(swagger, {
      openapi: {
        openapi: '3.1.0',
        info: {
          title: 'twostep',
          version,
          description: DESCRIPTION,
          contact: { name: 'The operator of the deployment' },
          license: { name: 'Apache-2.0', identifier: 'Apache-2.0' }
        },
        servers: [{ url: '/' }],
        tags: TAGS,
        components: { securitySchemes: SECURITY_SCHEMES }
      },
      refResolver: {
        buildLocalReference: (json, _baseUri, _fragment, index) =>
          typeof json['$id'] === 'string' ? json['$id'] : `def-${index}`
      },
      transformObject: (document) => {
        if (!('openapiObject' in document)) throw new Error('the spec is an OpenAPI document')
        const { openapiObject } = document
        nameObjects(openapiObject as SpecDocument)
        describeHeaders(openapiObject as SpecDocument)
        return openapiObject
      },
      transform: ({ schema, url, route }) => ({ schema: described(schema, route), url })
    })
    await app.register(documentRoutes)
  },
  { name: 'spec' }
)

function described(schema: FastifySchema, route: RouteOptions): FastifySchema {
  const { credentials, limit, repeatable, problems = [] } = route.config ?? {}
  if (schema.hide || credentials === undefined) return schema
  const rule = credentials === 'none' ? null : credentials
  const codes = new Set<ProblemCode>([
    ...(rule ? problemsOfRule(rule) : []),
    // Also without parameters, for a request without a `Host`.
    'invalid-request',
    ...(limit === 'none' ? [] : (['rate-limited'] as const)),
    // A request that needs no body may still have one, which is then read.
    ...(route.method !== 'GET'
      ? (['body-too-large', 'unsupported-media-type', 'expectation-failed'] as const)
      : []),
    ...(repeatable
      ? (['idempotency-key-in-use', 'idempotency-key-reused', 'too-many-attempts'] as const)
      : []),
    ...problems,
    'internal',
    'unavailable'
  ])
  return {
    ...schema,
    description: [schema.description, rule && describeRule(rule)].filter(Boolean).join('\n\n'),
    security: rule ? securityOf(rule) : [],
    response: {
      ...successResponses(schema.response as Record<string, ResponseSchema>),
      ...problemResponses([...codes])
    }
  }
}

function problemsOfRule({ accessToken }: CredentialRule): ProblemCode[] {
  return [
    'invalid-credential',
    'insufficient-scope',
    ...(accessToken && accessToken.holder !== 'anyone' ? (['limited-access'] as const) : []),
    ...(accessToken?.fresh || accessToken?.extends ? (['step-up-required'] as const) : [])
  ]
}

function securityOf({ operator, apiKey, step, accessToken }: CredentialRule) {
  return [
    ...(operator ? [{ operatorKey: [] }] : []),
    // OpenAPI 3.1 lets any scheme list the roles it needs.
    ...(apiKey ?? []).map((scope) => ({ apiKey: [scope] })),
    ...(step ? [{ stepToken: [step] }] : []),
    ...(accessToken ? [{ accessToken: [] }] : [])
  ]
}

const HOLDERS = {
  anyone: 'an access token',
  admin: "an admin's access token",
  self: "the user's own access token",
  'self-or-admin': "the user's own or an admin's access token"
} as const

const SIGN_INS = {
  'second-factor': ' from a recent sign-in',
  enrolling: ' from a recent sign-in',
  recent: ' from a sign-in at most ten minutes ago'
} as const

function describeRule({ operator, apiKey, step, accessToken }: CredentialRule): string {
  const taken = [
    operator && 'the operator key',
    apiKey && `an API key with ${apiKey.map((scope) => `\`${scope}\``).join(' or ')}`,
    step && `a step token of purpose \`${step}\``,
    accessToken && describeToken(accessToken)
  ]
  return `Requires ${taken.filter(Boolean).join(', or ')}.`
}

function describeToken({ holder, fresh }: NonNullable<CredentialRule['accessToken']>): string {
  if (typeof fresh !== 'object') return `${HOLDERS[holder]}${fresh ? SIGN_INS[fresh] : ''}`
  const ofSelf = fresh.self ? SIGN_INS[fresh.self] : ''
  return `${HOLDERS.self}${ofSelf}, or ${HOLDERS.admin}${SIGN_INS[fresh.others]}`
}

/** OpenAPI requires a description for every response. The reason phrase is enough. */
function successResponses(responses: Record<string, ResponseSchema>): Record<string, object> {
  return Object.fromEntries(
    Object.entries(responses).map(([status, { headers, ...schema }]) => {
      const description = STATUS_CODES[status]
      if (schema.type === 'null') return [status, { description, type: 'null' }]
      const content = { 'application/json': { schema } }
      return [status, { description, content, ...(headers && { headers }) }]
    })
  )
}

/** Returns one response for each status. Its schema is the problem, or a choice if several problems share the status. */
function problemResponses(codes: ProblemCode[]): Record<string, unknown> {
  const statuses = [...new Set(codes.map((code) => problemKind(code).status))].sort()
  return Object.fromEntries(
    statuses.map((status) => {
      const sharing = codes.filter((code) => problemKind(code).status === status)
      const [only, ...others] = sharing.map((code) => Type.Ref(problemSchemaName(code)))
      const schema =
        others.length === 0
          ? only
          : { oneOf: [only, ...others], discriminator: discriminatorOf(sharing) }
      return [
        status,
        {
          description: sharing.map((code) => `\`${code}\`: ${problemKind(code).title}.`).join(' '),
          content: { [PROBLEM_MEDIA_TYPE]: { schema } }
        }
      ]
    })
  )
}

function discriminatorOf(codes: ProblemCode[]) {
  const mapping = Object.fromEntries(
    codes.map((code) => [code, `#/components/schemas/${problemSchemaName(code)}`])
  )
  return { propertyName: 'code', mapping }
}

/** `code-rejected` -> `CodeRejectedProblem` */
function problemSchemaName(code: ProblemCode): string {
  const words = code.split('-').map((word) => `${word.charAt(0).toUpperCase()}${word.slice(1)}`)
  return `${words.join('')}Problem`
}

function problemSchema(code: ProblemCode) {
  const { status, title, cure, extras = {} } = problemKind(code)
  return Type.Object(
    {
      type: Type.Literal(`urn:twostep:problem:${code}`),
      title: Type.String({ examples: [title] }),
      status: Type.Literal(status),
      detail: Type.String({
        description: 'A text for people. It may change.',
        examples: [`${title}.`]
      }),
      code: Type.Literal(code, { description: 'The stable code for programs.' }),
      requestId: Type.String({ description: 'The id of this request in the log of the service.' }),
      ...extras
    },
    { $id: problemSchemaName(code), description: cure }
  )
}
