// S19: a value of the wrong type or form gets a 400 that names the field, on every route that takes the field.
import t from 'tap'
import { ON_SERVER } from '../../support/app.ts'
import { isProblem, pointersOf } from '../../support/problems.ts'
import { JSON_TYPE, startWithTargets, UUID } from './targets.ts'

const { apiKey, call, isNothingSpent, newcomer, routes, stepToken } = await startWithTargets(t)

/** Values in place of a string. */
const NO_STRINGS: [string, unknown][] = [
  ['null', null],
  ['a number', 123456],
  ['zero', 0],
  ['true', true],
  ['a list', ['123456']],
  ['an object', { $ne: '' }],
  ['an empty string', ''],
  ['NUL', '12345\u0000'],
  ['20,000 characters', 'x'.repeat(10_000)]
]

for (const [name, value] of NO_STRINGS) {
  t.test(`400: ${name} in place of a string`, async (t) => {
    for (const { method, path, as, body, headers } of routes) {
      for (const [member, right] of Object.entries(body)) {
        if (typeof right !== 'string') continue
        const answer = await call(method, path, {
          body: { ...body, [member]: value },
          ...(as && { as }),
          ...(headers && { headers })
        })
        const [pointer] = pointersOf(isProblem(t, answer, 400, 'invalid-request'))
        t.equal(pointer, `/${member}`, `${method} ${path} names the member`)
      }
    }
  })
}

/** Invalid values of a member, on every route that takes it. */
const WRONG_VALUES: Record<string, unknown[]> = {
  code: [
    '12345',
    '1234567',
    ' 123456',
    '123 456',
    '12345６',
    '１２３４５６',
    '١٢٣٤٥٦',
    '१२३४५६',
    '𝟏𝟐𝟑𝟒𝟓𝟔',
    '1e5000',
    '+12345',
    '-12345',
    '0x1234',
    '12345\n',
    '123456\n',
    '\ufeff123456',
    '😀😀😀'
  ],
  recoveryCode: ['AAAA_BBBB', 'AAAA–BBBB', 'ＡＡＡＡ', 'a'.repeat(65), '😀', "' OR 1=1 --"],
  email: [
    'ada',
    '@example.com',
    'ada@',
    'a b@example.com',
    'ada\n@example.com',
    'ada\u200b@example.com',
    '\u212aate@example.com',
    '😀@example.com',
    `${'a'.repeat(250)}@b.co`
  ],
  userId: [
    'me',
    '1',
    UUID.slice(1),
    `${UUID}0`,
    `{${UUID}}`,
    `urn:uuid:${UUID}`,
    UUID.replaceAll('-', '')
  ],
  authenticatorId: ['me', `urn:uuid:${UUID}`, `${UUID}\n`],
  accountId: ['acme', `urn:uuid:${UUID}`],
  role: ['owner', 'Admin', 'admin '],
  firstFactor: ['otp', 'PWD', 'pwd,sso'],
  subject: ['a\u0000b', 'ä', 'x'.repeat(256), '\n'],
  issuer: ['login.acme.example', 'https://', 'https://a.example?x', 'https://a@b.example', ' '],
  qr: ['gif', 'PNG'],
  twoFactor: ['Required', 'off', true],
  rememberDevice: ['true', 1, 0, null, 'yes'],
  disabled: ['false', 0, null, []],
  scopes: ['users:read', {}, null, [['users:read']], ['users:read', null], ['users:*'], [1]],
  expiresAt: [
    'tomorrow',
    '2030-01-01',
    '2030-13-01T00:00:00Z',
    1_900_000_000,
    '2030-01-01T00:00:00'
  ],
  slug: ['Acme', 'a', 'ä', 'a/b', '../x', 'аcme'],
  account: ['Acme', '*', "' OR 1=1 --", '%'],
  audience: ['with space', 'ä', '\t'],
  name: ['a\nb', 'a\u007fb', 'x'.repeat(101)]
}

for (const [member, values] of Object.entries(WRONG_VALUES)) {
  t.test(`400: ${values.length} invalid values of ${member}`, async (t) => {
    const taking = routes.filter(({ body }) => member in body)
    t.ok(taking.length > 0)
    for (const { method, path, as, body, headers } of taking) {
      for (const value of values) {
        const answer = await call(method, path, {
          body: { ...body, [member]: value },
          ...(as && { as }),
          ...(headers && { headers })
        })
        const [pointer = ''] = pointersOf(isProblem(t, answer, 400, 'invalid-request'))
        t.ok(pointer.startsWith(`/${member}`), `${path}: ${JSON.stringify(value)}`)
      }
    }
  })
}

t.test('400: mutually exclusive members and missing members are rejected', ON_SERVER, async (t) => {
  for (const [path, as, body] of [
    ['/v1/verify', stepToken, { code: '123456', recoveryCode: 'AAAA-BBBB' }],
    ['/v1/verify', stepToken, { rememberDevice: true }],
    ['/v1/verify', stepToken, {}],
    ['/v1/login/assertion', apiKey, { userId: UUID, email: 'a@example.com', firstFactor: 'pwd' }],
    ['/v1/login/assertion', apiKey, { firstFactor: 'pwd' }],
    ['/v1/enroll/confirm', newcomer, {}],
    ['/v1/login', '', {}],
    ['/v1/users', apiKey, {}],
    [`/v1/api-keys`, apiKey, {}]
  ] as const) {
    const answer = await call('POST', path, { body, ...(as && { as }) })
    t.ok(pointersOf(isProblem(t, answer, 400, 'invalid-request')).length > 0, path)
  }
})

t.test(
  '400: the last value of a duplicate member counts and is validated',
  ON_SERVER,
  async (t) => {
    const headers = { 'content-type': JSON_TYPE }
    const body = '{"code":"123456","code":123456}'
    const answer = await call('POST', '/v1/verify', { as: stepToken, body, headers })
    t.same(pointersOf(isProblem(t, answer, 400, 'invalid-request')), ['/code'])
  }
)

t.test('no request has spent an attempt or locked a user', ON_SERVER, (t) => isNothingSpent(t))
