// S19: a malformed body gets a 4xx problem on every route that takes a body. It never causes a 5xx and spends no attempt.
import { gzipSync } from 'node:zlib'
import t from 'tap'
import { ON_SERVER } from '../../support/app.ts'
import { isRefused, JSON_TYPE, type Route, startWithTargets } from './targets.ts'

const { call, isNothingSpent, routes } = await startWithTargets(t)

interface Form {
  name: string
  /** The body as it is sent. */
  sent(route: Route): string | Buffer | undefined
  mediaType?: string
  headers?: Record<string, string>
  status: number
}

const json = ({ body }: Route) => JSON.stringify(body)
const nested = (depth: number, open: string, close: string) =>
  open.repeat(depth) + close.repeat(depth)
const withMember = (member: string) => (route: Route) => json(route).replace('{', `{${member},`)
const utf16 = (route: Route) => Buffer.from(json(route), 'utf16le')

/** Bodies that no route accepts. */
const FORMS: Form[] = [
  { name: 'no body at all', sent: () => undefined, status: 400 },
  { name: 'an empty body', sent: () => '', mediaType: JSON_TYPE, status: 400 },
  { name: 'white space', sent: () => ' \r\n\t', status: 400 },
  { name: 'null', sent: () => 'null', status: 400 },
  { name: 'an empty list', sent: () => '[]', status: 400 },
  { name: 'the body in a list', sent: (route) => `[${json(route)}]`, status: 400 },
  { name: 'the body in a string', sent: (route) => JSON.stringify(json(route)), status: 400 },
  { name: 'a number', sent: () => '1', status: 400 },
  { name: 'a number that overflows', sent: () => '1e999', status: 400 },
  { name: 'true', sent: () => 'true', status: 400 },
  { name: 'an open brace', sent: () => '{', status: 400 },
  { name: 'a body cut off', sent: (route) => json(route).slice(0, -1), status: 400 },
  { name: 'text after the body', sent: (route) => `${json(route)}{}`, status: 400 },
  { name: 'single quotes', sent: (route) => json(route).replaceAll('"', "'"), status: 400 },
  { name: 'a trailing comma', sent: (route) => json(route).replace(/}$/, ',}'), status: 400 },
  { name: 'a comment', sent: (route) => `/**/${json(route)}`, status: 400 },
  { name: 'NaN', sent: withMember('"more":NaN'), status: 400 },
  { name: 'a raw NUL', sent: (route) => `${json(route)}\u0000`, status: 400 },
  {
    name: 'bytes that are not UTF-8',
    sent: () => Buffer.from([0xc3, 0x28, 0xff, 0xfe]),
    status: 400
  },
  { name: 'UTF-16', sent: utf16, status: 400 },
  {
    name: 'UTF-16 with its charset',
    sent: utf16,
    mediaType: `${JSON_TYPE}; charset=utf-16`,
    status: 400
  },
  {
    name: 'gzip',
    sent: (route) => gzipSync(json(route)),
    headers: { 'content-encoding': 'gzip' },
    status: 415
  },
  { name: '__proto__', sent: withMember('"__proto__":{"role":"admin"}'), status: 400 },
  {
    name: 'an escaped __proto__',
    sent: withMember('"\\u005f_proto__":{"role":"admin"}'),
    status: 400
  },
  { name: 'constructor', sent: withMember('"constructor":{"prototype":{"a":1}}'), status: 400 },
  { name: 'toString', sent: withMember('"toString":"x"'), status: 400 },
  { name: 'an unknown member', sent: withMember('"isAdmin":true'), status: 400 },
  { name: 'an unknown empty member', sent: withMember('"":""'), status: 400 },
  { name: 'an unknown member with NUL', sent: withMember('"\\u0000":1'), status: 400 },
  { name: 'an unknown number that overflows', sent: withMember('"more":1e999'), status: 400 },
  { name: 'an emoji as a member', sent: withMember('"🔑":"🔓"'), status: 400 },
  { name: 'lists 8000 deep', sent: () => nested(8000, '[', ']'), status: 400 },
  {
    name: 'objects 2000 deep',
    sent: () => `${'{"a":'.repeat(2000)}1${'}'.repeat(2000)}`,
    status: 400
  },
  { name: 'a member 2000 deep', sent: withMember(`"a":${nested(2000, '[', ']')}`), status: 400 },
  {
    name: 'one byte more than 16 KiB',
    sent: (route) => json(route).padEnd(16 * 1024 + 1),
    status: 413
  },
  { name: 'one MiB', sent: () => `{"a":"${'x'.repeat(1024 * 1024)}"}`, status: 413 },
  { name: 'plain text', sent: json, mediaType: 'text/plain', status: 415 },
  { name: 'XML', sent: () => '<code>123456</code>', mediaType: 'application/xml', status: 415 },
  {
    name: 'a form',
    sent: () => 'code=123456',
    mediaType: 'application/x-www-form-urlencoded',
    status: 415
  },
  {
    name: 'a multipart form',
    sent: () => '--x--',
    mediaType: 'multipart/form-data; boundary=x',
    status: 415
  },
  { name: 'a merge patch', sent: json, mediaType: 'application/merge-patch+json', status: 415 },
  {
    name: 'another JSON media type',
    sent: json,
    mediaType: 'application/vnd.api+json',
    status: 415
  },
  {
    name: 'a longer media type',
    sent: json,
    mediaType: 'application/jsonp',
    status: 415
  },
  { name: 'two media types', sent: json, mediaType: 'application/json, text/plain', status: 415 },
  { name: 'no media type', sent: json, mediaType: '', status: 415 },
  { name: 'half a media type', sent: json, mediaType: 'json', status: 415 },
  { name: 'a media type in brackets', sent: json, mediaType: '[object Object]', status: 415 }
]

for (const { name, sent, mediaType = JSON_TYPE, headers, status } of FORMS) {
  t.test(`${status}: ${name}`, async (t) => {
    for (const route of routes) {
      if (route.reads?.some((read) => mediaType.startsWith(read))) continue
      const { method, path, as } = route
      const body = sent(route)
      if ((body ?? '') === '' && route.isBodyOptional) continue
      const answer = await call(method, path, {
        body,
        ...(as && { as }),
        headers: {
          ...route.headers,
          ...headers,
          ...(body !== undefined && mediaType !== '' && { 'content-type': mediaType })
        }
      })
      isRefused(t, answer, status, `${method} ${path}`)
    }
  })
}

t.test('no request has spent an attempt or locked a user', ON_SERVER, (t) => isNothingSpent(t))
