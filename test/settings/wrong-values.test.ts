// Every key of the environment, with every kind of wrong value: one line that names the key and does not show the value.
import t from 'tap'
import { parseConfig } from '../../src/settings/config.ts'
import { ConfigError } from '../../src/settings/config-error.ts'
import { Environment, readEnvironment } from '../../src/settings/environment.ts'
import { COMPLETE, configOf } from './refusals.ts'

interface Shape {
  type?: string
  enum?: readonly string[]
  minimum?: number
  maximum?: number
}

const SHAPES = Object.entries<Shape>(Environment.properties)

/** Returns the message of a start with this value; null if the service starts. */
function messageOf(key: string, value: string): string | null {
  try {
    parseConfig(readEnvironment({ ...COMPLETE, [key]: value }))
    return null
  } catch (error) {
    if (error instanceof ConfigError) return error.message
    throw error
  }
}

for (const [key, { type, minimum = 0, maximum = 0, enum: choices }] of SHAPES) {
  if (type === 'integer') {
    t.test(`${key} is an integer in digits, within its bounds`, async (t) => {
      for (const value of [
        ...[
          ' ',
          'x',
          '1.5',
          '-1',
          '+1',
          '1e1',
          '0x10',
          '0b1',
          '1_0',
          '1,0',
          'NaN',
          'Infinity',
          'true'
        ],
        ...[
          '10s',
          '10 s',
          '1m',
          '10ms',
          '10%',
          '10\r',
          '10\n',
          ' 10',
          '10 ',
          '\t10',
          '10\u00a0',
          '"10"'
        ],
        ...['١٠', '１０', '१०', '1\u200b0', `${minimum - 1}`, `${maximum + 1}`, '9'.repeat(400)]
      ]) {
        const message = `${key} must be an integer from ${minimum} to ${maximum}`
        t.equal(messageOf(key, value), message, JSON.stringify(value.slice(0, 20)))
      }
    })
  }
  if (choices) {
    t.test(`${key} is one of its values, which the error lists`, async (t) => {
      const [first = ''] = choices
      for (const value of [
        ' ',
        'x',
        first.toUpperCase(),
        `${first}\r`,
        `${first}\n`,
        ` ${first}`
      ]) {
        const message = `${key} must be one of ${choices.join(', ')}`
        t.equal(messageOf(key, value), message, JSON.stringify(value))
      }
    })
  }
  t.test(`${key}: an empty value counts as none`, async (t) => {
    if (['DATABASE_URL', 'MASTER_KEYS', 'ISSUER', 'OPERATOR_KEY'].includes(key)) {
      t.equal(messageOf(key, ''), `${key} is required in production`)
    } else {
      t.equal(messageOf(key, ''), null)
    }
  })
}

/** Lists without an item are empty lists. */
const LISTS = ['TRUSTED_PROXIES', 'CORS_ORIGINS', 'SSO_PRIVATE_NETWORKS']

for (const [key, { type }] of SHAPES) {
  if (type !== 'string') continue
  t.test(`${key}: a blank value, and one with a line ending`, async (t) => {
    for (const value of LISTS.includes(key) ? [] : [' ', '\t', '\r', '\n', ' \r\n']) {
      t.match(
        messageOf(key, value) ?? 'starts',
        new RegExp(`^${key} .{0,250}$`),
        JSON.stringify(value)
      )
    }
    const known = (COMPLETE as Record<string, string>)[key]
    // The spaces around each of MASTER_KEYS mean nothing.
    for (const ending of known && key !== 'MASTER_KEYS' ? ['\r', '\n', '\r\n'] : []) {
      const message = messageOf(key, `${known}${ending}`) ?? 'starts'
      t.match(message, new RegExp(`^${key} .{0,250}$`), JSON.stringify(ending))
    }
  })
}

t.test('an instant is a day of the calendar and an hour of the day', async (t) => {
  for (const value of [
    ...[
      '2027-02-30T00:00:00Z',
      '2027-02-29T00:00:00Z',
      '2027-04-31T00:00:00Z',
      '2027-13-01T00:00:00Z'
    ],
    ...[
      '2027-01-01T24:00:00Z',
      '2027-01-01T23:60:00Z',
      '2027-01-01',
      '2027-01-01T00:00Z',
      '1 January 2027'
    ]
  ]) {
    t.match(messageOf('MANDATE_FROM', value) ?? 'starts', /^MANDATE_FROM must be an instant/, value)
  }
  for (const value of ['2028-02-29T23:59:59Z', '2027-01-01T00:00:00.5+13:00']) {
    t.equal(messageOf('MANDATE_FROM', value), null, value)
  }
})

t.test('HOST is an address, in brackets or not, or a host name', async (t) => {
  for (const [value, host] of [
    ['[::1]', '::1'],
    ['::', '::'],
    ['0.0.0.0', '0.0.0.0'],
    ['localhost', 'localhost']
  ] as const) {
    t.equal(configOf({ ...COMPLETE, HOST: value }).host, host)
  }
  for (const value of [
    '127.0.0.1\r',
    'http://localhost',
    'localhost:3000',
    '[::1',
    '127.0.0.1 ',
    'a b',
    '*'
  ]) {
    t.match(messageOf('HOST', value) ?? 'starts', /^HOST must be an address/, value)
  }
})

t.test('CORS_ORIGINS accepts the origins of apps and extensions', async (t) => {
  const origins = [
    'capacitor://localhost',
    'ionic://localhost',
    'tauri://localhost',
    'chrome-extension://abcdefghijklmnop'
  ]
  t.same(configOf({ ...COMPLETE, CORS_ORIGINS: origins.join(',') }).corsOrigins, origins)
  for (const value of [
    'capacitor://*',
    'capacitor://localhost/',
    'tauri://',
    'javascript://localhost'
  ]) {
    t.match(messageOf('CORS_ORIGINS', value) ?? 'starts', /^CORS_ORIGINS must list/, value)
  }
})
