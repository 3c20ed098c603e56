// House rules for all routes and keys, so that a new one can't break them unnoticed.
import { readFile } from 'node:fs/promises'
import Fastify from 'fastify'
import t, { type Test } from 'tap'
import { parse } from 'yaml'
import { declarations } from '../../src/plugins/declarations.ts'
import { Environment } from '../../src/settings/environment.ts'
import { PROBLEM_CODES, problemKind } from '../../src/wire/problems.ts'
import { startApp } from '../support/app.ts'
import {
  documentedProblems,
  type Operation,
  PROBLEM_MEDIA_TYPE,
  problemSchemaName,
  specOf
} from '../support/contract.ts'

/** Routes that serve the spec. They are not in it. */
const ABOUT_THE_SPEC = /^\/(openapi\.(json|yaml)|docs(\/.*)?)$/
/** Probes have no limit. */
const UNLIMITED = ['/health/live', '/health/ready']
const REFERENCE = /"\$ref":"#\/components\/schemas\/([^"]+)"/g

const { app, call } = await startApp(t)
const spec = specOf(app)
const operations = Object.entries(spec.paths).flatMap(([path, methods]) =>
  Object.entries(methods).map(([method, operation]) => ({ path, method, operation }))
)

t.test('every registered route is in the spec or serves it', async (t) => {
  const registered = registeredRoutes(app.printRoutes({ commonPrefix: false }))
  t.ok(registered.length > 15, 'the routes were found')
  const known = operations.map(({ method, path }) => `${method.toUpperCase()} ${path}`)
  const undocumented = registered.filter(
    ({ method, path }) => !known.includes(`${method} ${path}`) && !ABOUT_THE_SPEC.test(path)
  )
  t.same(undocumented, [])
  const documented = registered.map(({ method, path }) => `${method} ${path}`)
  t.same(
    known.filter((route) => !documented.includes(route)),
    [],
    'the spec has no other route'
  )
})

t.test('the spec is an OpenAPI 3.1 document in which every reference resolves', async (t) => {
  t.equal(spec.openapi, '3.1.0')
  t.match(spec.info, { title: 'twostep', version: /^\d+\.\d+\.\d+/ })
  const text = JSON.stringify(spec)
  const named = Object.keys(spec.components.schemas)
  for (const name of named) t.match(name, /^[A-Z][A-Za-z]+$/)
  const referred = [...text.matchAll(REFERENCE)].map(([, name = '']) => name)
  t.same(
    [...new Set(referred)].filter((name) => !named.includes(name)),
    []
  )
  const unused = named.filter((name) => !referred.includes(name))
  t.same(unused, [], 'every schema is used')
  t.notMatch(text, /"\$id"|def-\d/, 'no trace of the generator')
})

t.test('every object that a client sees has a name', async (t) => {
  const contents = operations.flatMap(({ operation: { requestBody, responses } }) =>
    [...(requestBody ? [requestBody] : []), ...Object.values(responses)].flatMap(
      ({ content = {} }) => Object.values(content).map(({ schema }) => schema as Shape)
    )
  )
  const named = Object.values(spec.components.schemas) as Shape[]
  t.same([...contents, ...named.flatMap(insideOf)].flatMap(anonymousIn), [])
  t.ok(contents.length > 100 && named.length > 80, 'the schemas are found')
})

t.test('a body with one of several fields is a union of objects', async (t) => {
  const { schemas } = spec.components
  const referTo = (...names: string[]) => ({
    oneOf: names.map((name) => ({ $ref: `#/components/schemas/${name}` }))
  })
  t.same(schemas['VerifyCodeBody'], referTo('CodeBody', 'RecoveryCodeBody'))
  t.match(schemas['CodeBody'], { required: ['code'], additionalProperties: false })
  const { properties = {} } = schemas['CodeBody'] as Shape
  t.same(Object.keys(properties), ['code', 'rememberDevice'])
  t.same(schemas['AssertLoginBody'], referTo('AssertionByUserId', 'AssertionByEmail'))
})

t.test('every tag has a description, and no value means another one in YAML 1.1', async (t) => {
  const { tags } = JSON.parse(JSON.stringify(app.swagger())) as {
    tags: { name: string; description: string }[]
  }
  t.same(
    tags.map(({ name }) => name).sort(),
    [...new Set(operations.flatMap(({ operation }) => operation.tags))].sort()
  )
  for (const { description } of tags) t.match(description, /\.$/)
  const text = await readFile(new URL('../../openapi.yaml', import.meta.url), 'utf8')
  t.same(parse(text, { version: '1.1' }), parse(text, { version: '1.2' }))
})

for (const { path, method, operation } of operations) {
  t.test(`${method.toUpperCase()} ${path} keeps the house rules`, async (t) => {
    isDescribed(t, operation)
    declaresItsParameters(t, path, operation)
    refusesUnknownMembers(t, operation)
    documentsItsProblems(t, path, operation)
    for (const [status, { description, content = {} }] of Object.entries(operation.responses)) {
      t.match(status, /^[2-5]\d\d$/)
      t.ok(description, `${status} has a description`)
      if (Number(status) >= 400) t.same(Object.keys(content), [PROBLEM_MEDIA_TYPE], status)
    }
  })
}

t.test('every operationId is used once', async (t) => {
  const ids = operations.map(({ operation }) => operation.operationId)
  t.same(
    ids.filter((id, index) => ids.indexOf(id) !== index),
    []
  )
})

t.test('every problem is documented with its cure, and some route returns it', async (t) => {
  const { items } = (await call('GET', '/docs/problems')).json()
  t.same(
    items,
    PROBLEM_CODES.map((code) => {
      const { status, title, cure } = problemKind(code)
      return { code, type: `urn:twostep:problem:${code}`, status, title, cure }
    })
  )
  const returned = operations.flatMap(({ operation }) =>
    Object.keys(operation.responses).flatMap((status) => documentedProblems(operation, status))
  )
  for (const code of PROBLEM_CODES) {
    const { status, title, cure } = problemKind(code)
    t.match(code, /^[a-z]+(-[a-z]+)*$/)
    t.ok(status >= 400 && status < 600 && title !== '' && /\.$/.test(cure), code)
    t.ok(returned.includes(problemSchemaName(code)), `some route returns ${code}`)
  }
})

t.test('openapi.yaml matches the routes: if not, run `npm run spec`', async (t) => {
  const committed = await readFile(new URL('../../openapi.yaml', import.meta.url), 'utf8')
  // `npm run spec:check` compares the text. The reporter changes how this process writes YAML.
  t.same(parse(committed), spec)
})

t.test('.env.example lists every key of the environment and no other key', async (t) => {
  const example = await readFile(new URL('../../.env.example', import.meta.url), 'utf8')
  const listed = [...example.matchAll(/^#? ?([A-Z][A-Z_]+)=/gm)].map(([, key]) => key)
  t.same(listed.sort(), Object.keys(Environment.properties).sort())
})

t.test('the service does not start if a route declares no credentials or no limit', async (t) => {
  for (const [config, starts] of [
    [{ credentials: 'none', limit: 'address' }, true],
    [{ credentials: 'none' }, false],
    [{ limit: 'address' }, false],
    [{}, false]
  ] as const) {
    const other = Fastify()
    await other.register(declarations)
    other.get('/new', { config }, async () => 'secrets')
    if (starts) await other.ready()
    else
      await t.rejects(async () => other.ready(), {
        message: /^GET \/new.* must declare who may call/
      })
  }
})

function isDescribed(t: Test, { operationId, summary, tags, security }: Operation): void {
  t.match(operationId, /^[a-z]+([A-Z][a-z]*)*$/)
  t.match(summary, /^[A-Z].*[^.]$/)
  t.equal(tags.length, 1)
  t.ok(Array.isArray(security), 'says who may call')
  for (const scheme of security.flatMap((way) => Object.keys(way))) {
    t.ok(spec.components.securitySchemes[scheme], scheme)
  }
}

function declaresItsParameters(t: Test, path: string, { parameters = [] }: Operation): void {
  const inPath = [...path.matchAll(/\{(\w+)\}/g)].map(([, name]) => name)
  const declared = parameters.filter((parameter) => parameter.in === 'path')
  t.same(
    declared.map(({ name }) => name),
    inPath
  )
  t.ok(
    declared.every(({ required }) => required),
    'path parameters are required'
  )
}

function refusesUnknownMembers(t: Test, { requestBody }: Operation): void {
  if (!requestBody) return
  t.equal(requestBody.required, true, 'a body is not optional')
  for (const [mediaType, { schema }] of Object.entries(requestBody.content)) {
    const shapes = objectsIn(schema)
    t.ok(shapes.length > 0, mediaType)
    for (const shape of shapes) t.equal(shape.additionalProperties, false, mediaType)
  }
}

function documentsItsProblems(t: Test, path: string, operation: Operation): void {
  const { security, requestBody, parameters = [] } = operation
  const promises = (status: number, code: string) =>
    t.ok(
      documentedProblems(operation, status).includes(problemSchemaName(code)),
      `${status} ${code}`
    )
  promises(503, 'unavailable')
  if (!UNLIMITED.includes(path)) promises(429, 'rate-limited')
  if (requestBody || parameters.length > 0) promises(400, 'invalid-request')
  if (requestBody) {
    promises(413, 'body-too-large')
    promises(415, 'unsupported-media-type')
  }
  if (security.length > 0) {
    promises(401, 'invalid-credential')
    promises(403, 'insufficient-scope')
  }
}

interface Shape {
  $ref?: string
  type?: string | string[]
  properties?: Record<string, Shape>
  items?: Shape
  oneOf?: Shape[]
  anyOf?: Shape[]
  additionalProperties?: boolean
}

/** Returns the schemas directly inside a schema. */
function insideOf({ properties = {}, items, oneOf = [], anyOf = [] }: Shape): Shape[] {
  return [...Object.values(properties), ...(items ? [items] : []), ...oneOf, ...anyOf]
}

/** Returns the objects of a schema, and of the schemas that it refers to. */
function objectsIn(shape: Shape): Shape[] {
  const name = shape.$ref?.split('/').at(-1)
  const found = name === undefined ? shape : (spec.components.schemas[name] as Shape)
  return [...(found.type === 'object' ? [found] : []), ...insideOf(found).flatMap(objectsIn)]
}

/** Returns the objects with fields that stand in a schema without a name. */
function anonymousIn(shape: Shape): Shape[] {
  return [...(shape.properties ? [shape] : []), ...insideOf(shape).flatMap(anonymousIn)]
}

/** Returns the routes in the tree of `printRoutes`. A line has four characters per level, a part of a path, its methods. */
function registeredRoutes(tree: string): { method: string; path: string }[] {
  const parts: string[] = []
  return tree.split('\n').flatMap((line) => {
    const [, branch = '', part = '', methods = ''] =
      /^([│ ]*[├└]── )(.*?)(?: \(([A-Z, ]+)\))?$/.exec(line) ?? []
    if (branch === '') return []
    const depth = branch.length / 4
    parts.length = depth - 1
    parts.push(part)
    const path = parts.join('').replace(/:(\w+)/g, '{$1}')
    const returned = methods.split(', ').filter((method) => method !== '' && method !== 'HEAD')
    return returned.map((method) => ({ method, path }))
  })
}
