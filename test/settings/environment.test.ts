// The environment contract: accepted values, defaults, and the text of errors.
import { readFileSync } from 'node:fs'
import t from 'tap'
import { Environment } from '../../src/settings/environment.ts'
import { assertRejected, COMPLETE, configOf, KEYS, refusal } from './refusals.ts'

t.test('.env.example lists every key with its default, and no other key', async (t) => {
  const text = readFileSync(new URL('../../.env.example', import.meta.url), 'utf8')
  const lines = text.split('\n').filter((line) => /^#? ?[A-Z_]+=/.test(line))
  const example = Object.fromEntries(lines.map((line) => line.replace(/^# ?/, '').split(/=(.*)/s)))
  t.strictSame(Object.keys(example).sort(), Object.keys(Environment.properties).sort())
  t.strictSame(configOf({ ...example, ...KEYS }), configOf(KEYS))
})

t.test('every key of the contract has a description', async (t) => {
  for (const [key, schema] of Object.entries(Environment.properties)) {
    t.match(schema, { description: /^[A-Z0-9a-z].*\.$/ }, key)
  }
})

t.test('an empty value means "not set"', async (t) => {
  const empty = Object.fromEntries(Object.keys(Environment.properties).map((key) => [key, '']))
  t.strictSame(configOf({ ...empty, ...KEYS }), configOf(KEYS))
  refusal(t, 'MASTER_KEYS', { ...COMPLETE, MASTER_KEYS: '' })
})

t.test('a variable that is not in the contract is ignored', async (t) => {
  const config = configOf({ ...COMPLETE, PATH: '/usr/bin', masterKeys: 'x', port: '1' })
  t.equal(config.port, 3000)
})

t.test('a value of the wrong form is rejected, and its error does not show it', async (t) => {
  assertRejected(t, {
    DATABASE_URL: [
      'mysql://root:hunter2@db/x',
      'pglite:',
      'pglite',
      'postgres:',
      'postgresql://',
      './data',
      'http://x',
      ' postgresql://u:hunter2@db/x',
      'POSTGRESQL://u:hunter2@db/x',
      'file:./dev.db'
    ],
    PORT: ['-1', '65536', '3000.5', 'http', '3000;', '٣٠٠٠', 'NaN', 'Infinity'],
    METRICS_PORT: ['0', '65536', 'http'],
    LOG_LEVEL: ['verbose', 'INFO', 'info ', '30', 'true'],
    NODE_ENV: ['Production', 'prod', 'staging']
  })
})

t.test('every number of the contract has bounds', async (t) => {
  for (const [key, schema] of Object.entries(Environment.properties)) {
    if (!('type' in schema) || schema.type !== 'integer') continue
    t.match(schema, { minimum: Number, maximum: Number }, key)
    for (const value of ['Infinity', '-Infinity', '1e999', '-1', '1e12', '1.5', 'x']) {
      refusal(t, key, { ...COMPLETE, [key]: value })
    }
  }
})

t.test('an error says which values are accepted', async (t) => {
  const port = 'PORT must be an integer from 0 to 65535'
  for (const [key, value, message] of [
    ['PORT', 'x', port],
    ['PORT', '65536', port],
    ['PORT', 'Infinity', port],
    ['NODE_ENV', 'prod', 'NODE_ENV must be one of development, test, production'],
    ['REDIS_URL', 'x', 'REDIS_URL must be of the form redis://host:6379 or rediss://host:6379']
  ] as const) {
    t.equal(refusal(t, key, { ...COMPLETE, [key]: value }), message)
  }
})
