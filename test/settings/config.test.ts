// The configuration of the service: defaults, what production requires, and rules over several keys.
import t from 'tap'
import { hashBearerSecret } from '../../src/core/bearer-keys.ts'
import { parseConfig } from '../../src/settings/config.ts'
import { dataFolderOf } from '../../src/settings/data-folder.ts'
import { readEnvironment } from '../../src/settings/environment.ts'
import {
  COMPLETE,
  configOf,
  KEYS,
  MASTER_KEY,
  OPERATOR_ID,
  OPERATOR_SECRET,
  refusal
} from './refusals.ts'

t.test('a complete environment becomes one frozen config', async (t) => {
  const config = configOf({ ...COMPLETE, PORT: '8080', HOST: '0.0.0.0', LOG_LEVEL: 'warn' })
  t.match(config, {
    isProduction: true,
    databaseUrl: COMPLETE.DATABASE_URL,
    issuer: 'https://id.example.com',
    port: 8080,
    host: '0.0.0.0',
    metricsPort: null,
    logLevel: 'warn'
  })
  t.equal(config.masterKeys.length, 1)
  t.equal(config.masterKeys[0].id, 'k1')
  t.equal(Buffer.from(config.masterKeys[0].key).toString('base64'), MASTER_KEY)
  t.strictSame(config.operatorKey, {
    id: OPERATOR_ID,
    secretHash: hashBearerSecret(OPERATOR_SECRET)
  })
  t.notMatch(JSON.stringify(config), OPERATOR_SECRET, 'the config does not hold the operator key')
  for (const part of [config, config.operatorKey, config.corsOrigins]) t.ok(Object.isFrozen(part))
  t.throws(() => Object.assign(config, { issuer: 'x' }), TypeError)
})

t.test('a key that is not set has its documented default', async (t) => {
  t.match(configOf(KEYS), {
    isProduction: false,
    databaseUrl: 'pglite:./data',
    issuer: 'http://localhost:3000',
    port: 3000,
    host: '127.0.0.1',
    corsOrigins: [],
    logLevel: 'info',
    databaseWaitSeconds: 30
  })
  for (const [PORT, issuer] of [
    ['8080', 'http://localhost:8080'],
    ['80', 'http://localhost']
  ] as const) {
    t.equal(configOf({ ...KEYS, PORT }).issuer, issuer)
  }
})

t.test('production requires its keys, and local keys do not replace them', async (t) => {
  const localKeys = { masterKeys: COMPLETE.MASTER_KEYS, operatorKey: COMPLETE.OPERATOR_KEY }
  for (const key of ['DATABASE_URL', 'MASTER_KEYS', 'ISSUER', 'OPERATOR_KEY']) {
    const env = { ...COMPLETE, [key]: undefined }
    const message = `${key} is required in production`
    t.equal(refusal(t, key, env), message)
    t.throws(() => parseConfig(readEnvironment(env), localKeys), { message })
  }
})

t.test('outside production local keys stand in for the keys that are not set', async (t) => {
  const localKeys = { masterKeys: COMPLETE.MASTER_KEYS, operatorKey: COMPLETE.OPERATOR_KEY }
  t.strictSame(parseConfig(readEnvironment({}), localKeys), configOf(KEYS))
  const other = `other:${MASTER_KEY}`
  const config = parseConfig(readEnvironment({ MASTER_KEYS: other }), localKeys)
  t.match([config.masterKeys[0].id, config.operatorKey.id], ['other', OPERATOR_ID])
  t.equal(refusal(t, 'MASTER_KEYS', {}), 'MASTER_KEYS is not set')
  const { MASTER_KEYS } = COMPLETE
  t.equal(refusal(t, 'OPERATOR_KEY', { MASTER_KEYS }), 'OPERATOR_KEY is not set')
})

t.test('the port of the metrics differs from the port of the API', async (t) => {
  t.equal(configOf({ ...COMPLETE, METRICS_PORT: '9464' }).metricsPort, 9464)
  const message = refusal(t, 'METRICS_PORT', { ...COMPLETE, METRICS_PORT: '3000' })
  t.equal(message, 'METRICS_PORT must differ from PORT')
})

t.test('wrong codes lock before they disable', async (t) => {
  const env = { ...COMPLETE, CODE_ATTEMPTS_BEFORE_LOCK: '20' }
  for (const CODE_ATTEMPTS_BEFORE_DISABLED of ['10', '20']) {
    t.equal(
      refusal(t, 'CODE_ATTEMPTS_BEFORE_DISABLED', { ...env, CODE_ATTEMPTS_BEFORE_DISABLED }),
      'CODE_ATTEMPTS_BEFORE_DISABLED must be greater than CODE_ATTEMPTS_BEFORE_LOCK'
    )
  }
  const { codeAttempts } = configOf({ ...env, CODE_ATTEMPTS_BEFORE_DISABLED: '21' })
  t.match(codeAttempts, { beforeLock: 20, beforeDisabled: 21 })
})

t.test('a stop is delayed by default only in production', async (t) => {
  t.equal(configOf(COMPLETE).shutdownDelaySeconds, 5)
  t.equal(configOf({ ...COMPLETE, SHUTDOWN_DELAY_SECONDS: '0' }).shutdownDelaySeconds, 0)
  t.equal(configOf(KEYS).shutdownDelaySeconds, 0)
})

t.test('the data folder is the folder of the embedded database, or ./data', async (t) => {
  t.equal(dataFolderOf('pglite:./data'), './data')
  t.equal(dataFolderOf('pglite:/var/lib/twostep'), '/var/lib/twostep')
  t.equal(dataFolderOf('postgresql://u:p@db/x'), './data')
  t.equal(dataFolderOf(undefined), './data')
})
