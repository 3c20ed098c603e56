import { randomBytes } from 'node:crypto'
import { readFileSync } from 'node:fs'
import t, { type Test } from 'tap'
import { hashBearerSecret } from '../../src/core/bearer-keys.ts'
import { ConfigError, dataFolder, Environment, loadConfig } from '../../src/settings/config.ts'

const base64Key = () => randomBytes(32).toString('base64')
const ID = 'abc0123def45'
const SECRET = randomBytes(32).toString('base64url')
const MASTER_KEY = base64Key()

/** All that production asks for. */
const COMPLETE = {
  NODE_ENV: 'production',
  DATABASE_URL: 'postgresql://service:hunter2@db.internal:5432/twostep',
  MASTER_KEYS: `k1:${MASTER_KEY}`,
  ISSUER: 'https://id.example.com',
  OPERATOR_KEY: `tso_${ID}_${SECRET}`
}

/** The error's message; fails the test unless it is a ConfigError that names the key. */
function refusal(t: Test, key: string, env: NodeJS.ProcessEnv): string {
  try {
    loadConfig(env)
  } catch (error) {
    t.type(error, ConfigError, `${key} is refused`)
    t.match((error as Error).message, new RegExp(`^${key}\\b`), 'and named first')
    return (error as Error).message
  }
  t.fail(`${key} is not refused`)
  return ''
}

t.test('a complete environment becomes one frozen config', async (t) => {
  const config = loadConfig({ ...COMPLETE, PORT: '8080', HOST: '0.0.0.0', LOG_LEVEL: 'warn' })
  t.match(config, {
    isProduction: true,
    databaseUrl: COMPLETE.DATABASE_URL,
    issuer: 'https://id.example.com',
    port: 8080,
    host: '0.0.0.0',
    metricsPort: null,
    logLevel: 'warn',
    newLocalKeys: null
  })
  t.equal(config.masterKeys.length, 1)
  t.equal(config.masterKeys[0].id, 'k1')
  t.equal(Buffer.from(config.masterKeys[0].key).toString('base64'), MASTER_KEY)
  t.strictSame(config.operatorKey, { id: ID, secretHash: hashBearerSecret(SECRET) })
  t.notMatch(JSON.stringify(config), SECRET, 'the operator key itself is not kept')
  for (const part of [config, config.operatorKey, config.corsOrigins]) t.ok(Object.isFrozen(part))
  t.throws(() => Object.assign(config, { issuer: 'x' }), TypeError)
})

t.test('what is not set has its documented default', async (t) => {
  const { MASTER_KEYS, OPERATOR_KEY } = COMPLETE
  const config = loadConfig({ MASTER_KEYS, OPERATOR_KEY })
  t.match(config, {
    isProduction: false,
    databaseUrl: 'pglite:./data',
    issuer: 'http://localhost:3000',
    port: 3000,
    host: '127.0.0.1',
    corsOrigins: [],
    logLevel: 'info',
    newLocalKeys: null
  })
  for (const [PORT, issuer] of [
    ['8080', 'http://localhost:8080'],
    ['80', 'http://localhost']
  ] as const) {
    t.equal(loadConfig({ MASTER_KEYS, OPERATOR_KEY, PORT }).issuer, issuer)
  }
})

t.test(
  '.env.example lists every key with the default that the code has, and no other',
  async (t) => {
    const text = readFileSync(new URL('../../.env.example', import.meta.url), 'utf8')
    const lines = text.split('\n').filter((line) => /^#? ?[A-Z_]+=/.test(line))
    const example = Object.fromEntries(
      lines.map((line) => line.replace(/^# ?/, '').split(/=(.*)/s))
    )
    t.strictSame(Object.keys(example).sort(), Object.keys(Environment.properties).sort())
    const { MASTER_KEYS, OPERATOR_KEY } = COMPLETE
    t.strictSame(
      loadConfig({ ...example, MASTER_KEYS, OPERATOR_KEY }),
      loadConfig({ MASTER_KEYS, OPERATOR_KEY })
    )
  }
)

t.test('an empty value means "not set"', async (t) => {
  const { MASTER_KEYS, OPERATOR_KEY } = COMPLETE
  const empty = Object.fromEntries(Object.keys(Environment.properties).map((key) => [key, '']))
  t.strictSame(
    loadConfig({ ...empty, MASTER_KEYS, OPERATOR_KEY }),
    loadConfig({ MASTER_KEYS, OPERATOR_KEY })
  )
  refusal(t, 'MASTER_KEYS', { ...COMPLETE, MASTER_KEYS: '' })
})

t.test('production starts with nothing made up for it', async (t) => {
  for (const key of ['DATABASE_URL', 'MASTER_KEYS', 'ISSUER', 'OPERATOR_KEY']) {
    const message = refusal(t, key, { ...COMPLETE, [key]: undefined })
    t.equal(message, `${key} is required in production`)
  }
})

t.test('keys that are not ours are ignored', async (t) => {
  const config = loadConfig({ ...COMPLETE, PATH: '/usr/bin', masterKeys: 'x', port: '1' })
  t.equal(config.port, 3000)
})

const zeros = Buffer.alloc(32).toString('base64')
const notRandom = Buffer.from('abcdefgh'.repeat(4)).toString('base64')

t.test('every value that can’t be used is named, and never shown', async (t) => {
  const bad: Record<string, string[]> = {
    DATABASE_URL: [
      ...['mysql://root:hunter2@db/x', 'pglite:', 'pglite', 'postgres:', 'postgresql://', './data'],
      ...[
        'http://x',
        ' postgresql://u:hunter2@db/x',
        'POSTGRESQL://u:hunter2@db/x',
        'file:./dev.db'
      ]
    ],
    SMTP_URL: [
      ...[
        'mail.internal',
        'mail.internal:587',
        'http://u:hunter2@mail',
        'smtp:',
        'smtp://',
        'smtp:mail'
      ],
      ...[
        'smtp://u:hunter2@',
        'smtp://hunter2@mail',
        'smtp://:hunter2@mail',
        'smtp://u:%hunter2@mail'
      ],
      ...[
        'smtp://u:hunter2@mail:0',
        'smtp://mail:99999',
        'smtp://mail:587x',
        'smtp://mail/hunter2'
      ],
      ...[
        'smtp://mail?pool=true',
        'smtp://mail#hunter2',
        'smtp://ma il',
        'smtp://größe',
        'SMTP//mail'
      ],
      ...['direct:?name=x', 'smtp://a,b', 'smtp://mail\r\nRSET']
    ],
    MAIL_FROM: [
      ...[
        'hunter2',
        'hunter2@',
        '@acme.test',
        'a b@acme.test',
        'a@acme.test, b@acme.test',
        'a@b@acme.test'
      ],
      ...[
        'Acme a@acme.test',
        'Acme <a@acme.test',
        'Acme <hunter2>',
        'Acme <a@acme.test> x',
        '<>',
        ' '
      ],
      ...['Acme\r\nBcc: x <a@acme.test>', 'a@acme.test\n', 'a@größe.test', 'A<b>c <a@acme.test>']
    ],
    MASTER_KEYS: [
      ...[MASTER_KEY, `:${MASTER_KEY}`, `k 1:${MASTER_KEY}`, `k.1:${MASTER_KEY}`, 'k1:', 'k1'],
      ...[`k1:${MASTER_KEY},`, `,k1:${MASTER_KEY}`, `k1:${MASTER_KEY};k2:${base64Key()}`],
      ...[`k1:${MASTER_KEY.slice(0, -1)}`, `k1:${MASTER_KEY}=`, `k1:${MASTER_KEY}AAAA`],
      ...[`k1:${randomBytes(16).toString('base64')}`, `k1:${randomBytes(33).toString('base64')}`],
      ...[
        `k1:${randomBytes(32).toString('hex')}`,
        `k1:${Buffer.alloc(32, 0xfb).toString('base64url')}`
      ],
      ...[
        `k1:${zeros}`,
        `k1:${notRandom}`,
        `${'k'.repeat(33)}:${MASTER_KEY}`,
        `ключ:${MASTER_KEY}`
      ],
      `k1:${MASTER_KEY},k1:${base64Key()}`,
      `k1:${MASTER_KEY},k2:${MASTER_KEY}`,
      `k1:${MASTER_KEY},k2:${zeros}`
    ],
    ISSUER: [
      ...[
        'id.example.com',
        '/id',
        'ftp://id.example.com',
        'https://',
        'https:',
        'javascript:alert(1)'
      ],
      ...['https://id.example.com/', 'https://id.example.com/auth/', 'https://id.example.com//'],
      ...['https://id.example.com?tenant=1', 'https://id.example.com?', 'https://id.example.com#x'],
      ...['https://id.example.com#', 'https://u@id.example.com', 'https://:hunter2@id.example.com'],
      ...[' https://id.example.com', 'https://id.example.com ', 'https://id.example.com\n'],
      ...['HTTPS://id.example.com', 'https://ID.example.com', 'https://id.example.com:443'],
      ...['https://id.example.com/a/../b', 'https://id.example.com/a b', 'https:id.example.com']
    ],
    OPERATOR_KEY: [
      ...['secret', SECRET, `tsk_${ID}_${SECRET}`, `tso_${ID}_${SECRET.slice(1)}`, `tso_${ID}_`],
      ...[`tso_${ID}_${SECRET}=`, ` tso_${ID}_${SECRET}`, `tso_${ID}_${SECRET}\n`],
      ...[`tso_${ID.toUpperCase()}_${SECRET}`, `tso_${ID}_${'a'.repeat(43)}`],
      `tso_${ID}_${'0123456789abcde'.repeat(3).slice(0, 43)}`
    ],
    METRICS_PORT: ['0', '65536', 'http', '3000'],
    PORT: ['-1', '65536', '3000.5', 'http', '3000;', '٣٠٠٠', 'NaN', 'Infinity'],
    LOG_LEVEL: ['verbose', 'INFO', 'info ', '30', 'true'],
    CORS_ORIGINS: [
      ...[
        '*',
        'front.example.org',
        'https://front.example.org/',
        'https://front.example.org/path',
        'null'
      ],
      ...['https://*.example.com', 'https://FRONT.example.org', 'https://front.example.org:443'],
      ...[
        'https://u@front.example.org',
        'https://front.example.org?x',
        'file:///etc',
        'about:blank'
      ],
      ...[
        'https://a.example.com https://b.example.com',
        'https://a.example.com,*',
        'ws://a.example'
      ]
    ]
  }
  for (const [key, values] of Object.entries(bad)) {
    for (const value of values) {
      const message = refusal(t, key, { ...COMPLETE, [key]: value })
      // Shorter parts, such as "*" or "pglite", are words of the messages, too.
      const parts = value.split(/[,;:@]/).filter((part) => part.length > 8)
      for (const part of [...parts, 'hunter2']) t.notOk(message.includes(part.trim()), message)
    }
  }
})

t.test('no number of the contract is without bounds', async (t) => {
  for (const [key, schema] of Object.entries(Environment.properties)) {
    if (!('type' in schema) || schema.type !== 'integer') continue
    t.match(schema, { minimum: Number, maximum: Number }, key)
    for (const value of ['Infinity', '-Infinity', '1e999', '-1', '1e12', '1.5', 'x']) {
      refusal(t, key, { ...COMPLETE, [key]: value })
    }
  }
})

t.test('the message says what would do', async (t) => {
  for (const [key, value, message] of [
    ['PORT', 'x', 'PORT must be integer'],
    ['PORT', '65536', 'PORT must be <= 65535'],
    ['PORT', 'Infinity', 'PORT must be finite'],
    ['METRICS_PORT', '3000', 'METRICS_PORT must differ from PORT'],
    ['MASTER_KEYS', `k1:${zeros}`, 'MASTER_KEYS must be random']
  ] as const) {
    t.equal(refusal(t, key, { ...COMPLETE, [key]: value }), message)
  }
})

t.test(
  'a key made by hand is good enough to develop with, and the mode has to be one that is known',
  async (t) => {
    t.doesNotThrow(() => loadConfig({ ...COMPLETE, NODE_ENV: 'test', MASTER_KEYS: `k1:${zeros}` }))
    for (const mode of ['Production', 'prod', 'staging']) {
      refusal(t, 'NODE_ENV', { ...COMPLETE, NODE_ENV: mode })
    }
  }
)

t.test('the operator key is no master key', async (t) => {
  const secret = Buffer.from(MASTER_KEY, 'base64').toString('base64url')
  const OPERATOR_KEY = `tso_${ID}_${secret}`
  const message = refusal(t, 'OPERATOR_KEY', { ...COMPLETE, OPERATOR_KEY })
  t.equal(message, 'OPERATOR_KEY must not be one of MASTER_KEYS')
})

t.test('a stop is delayed in production, where nothing else is said', async (t) => {
  const { MASTER_KEYS, OPERATOR_KEY } = COMPLETE
  t.equal(loadConfig(COMPLETE).shutdownDelaySeconds, 5)
  t.equal(loadConfig({ ...COMPLETE, SHUTDOWN_DELAY_SECONDS: '0' }).shutdownDelaySeconds, 0)
  t.equal(loadConfig({ MASTER_KEYS, OPERATOR_KEY }).shutdownDelaySeconds, 0)
  t.equal(loadConfig(COMPLETE).databaseWaitSeconds, 30)
})

t.test('a ring of master keys keeps its order', async (t) => {
  const [newest, older] = [base64Key(), base64Key()]
  const { masterKeys } = loadConfig({
    ...{ ...COMPLETE, MASTER_KEYS: ` 2031-02:${newest} , k_1:${older}` }
  })
  t.strictSame(
    masterKeys.map(({ id, key }) => `${id}:${Buffer.from(key).toString('base64')}`),
    [`2031-02:${newest}`, `k_1:${older}`]
  )
})

t.test('an issuer is taken as it is written', async (t) => {
  for (const issuer of [
    ...['https://id.example.com', 'https://id.example.com/auth', 'http://localhost:3000'],
    ...['https://id.example.com:8443/a/b', 'http://10.0.0.1', 'https://[2001:db8::1]:8443']
  ]) {
    t.equal(loadConfig({ ...COMPLETE, ISSUER: issuer }).issuer, issuer)
  }
})

t.test('the mail server is what its URL says', async (t) => {
  const serverOf = (SMTP_URL: string) => loadConfig({ ...COMPLETE, SMTP_URL }).mail.server
  t.equal(serverOf(''), null)
  const plain = { host: 'mail.internal', port: 587, isSecure: false, login: null }
  t.same(serverOf('smtp://mail.internal'), plain)
  t.same(serverOf('smtp://mail.internal:25/'), { ...plain, port: 25 })
  t.same(serverOf('smtps://mail.internal'), { ...plain, port: 465, isSecure: true })
  t.match(serverOf('smtp://[2001:db8::1]:2525'), { host: '2001:db8::1', port: 2525 })
  t.same(serverOf('smtps://ada%40acme.test:p%3Aq%2F%40@mail.internal:4465')?.login, {
    ...{ user: 'ada@acme.test', password: 'p:q/@' }
  })
})

t.test('mails come from the issuer’s host, or from whom they are told to', async (t) => {
  const mailOf = (env: NodeJS.ProcessEnv) => loadConfig({ ...COMPLETE, ...env }).mail
  const ours = { name: 'twostep', address: 'no-reply@id.example.com' }
  t.same(mailOf({}).from, ours)
  t.equal(mailOf({}).domain, 'id.example.com')
  t.match(mailOf({ ISSUER: 'https://id_1:8443/a' }).from, { address: 'no-reply@id_1' })
  for (const ISSUER of ['http://10.0.0.1', 'https://[2001:db8::1]:8443']) {
    t.match(mailOf({ ISSUER }), { from: { address: 'no-reply@localhost' }, domain: 'localhost' })
  }
  for (const [MAIL_FROM, name, address] of [
    ['no-reply@acme.test', '', 'no-reply@acme.test'],
    ['<no-reply@acme.test>', '', 'no-reply@acme.test'],
    ['Größe & Co. <a+b@acme.test>', 'Größe & Co.', 'a+b@acme.test'],
    ['"Acme, Inc." <a@localhost>', 'Acme, Inc.', 'a@localhost']
  ] as const) {
    t.same(mailOf({ MAIL_FROM }).from, { name, address })
  }
  t.equal(mailOf({ MAIL_FROM: 'a@acme.test' }).domain, 'id.example.com', 'the Message-IDs stay')
})

t.test('mails become files outside production, beside the database or in ./data', async (t) => {
  const { DATABASE_URL: _, ...rest } = { ...COMPLETE, NODE_ENV: 'test' }
  t.equal(loadConfig(COMPLETE).mail.folder, null)
  t.equal(loadConfig({ ...rest, DATABASE_URL: 'pglite:/srv/x' }).mail.folder, '/srv/x/mail')
  t.equal(loadConfig(rest).mail.folder, 'data/mail')
})

t.test('CORS origins are a list of exact ones', async (t) => {
  const originsOf = (list: string) => loadConfig({ ...COMPLETE, CORS_ORIGINS: list }).corsOrigins
  t.strictSame(originsOf(''), [])
  t.strictSame(originsOf(' , ,'), [])
  t.strictSame(originsOf('https://a.example, http://localhost:5173 ,'), [
    ...['https://a.example', 'http://localhost:5173']
  ])
})

t.test('a proxy is an address or a network, and never everybody', async (t) => {
  const proxiesOf = (list: string) =>
    loadConfig({ ...COMPLETE, TRUSTED_PROXIES: list }).trustedProxies
  t.strictSame(proxiesOf(''), [])
  const fine = ['10.0.0.0/8', '192.168.1.7', '172.16.0.0/12', '2001:db8::/32', '::1', 'fd00::/8']
  t.strictSame(proxiesOf(fine.join(' , ')), fine)
  t.ok(Object.isFrozen(proxiesOf('::1')))
  for (const list of [
    ...['*', 'true', '1', 'loopback', 'proxy.internal', '10.0.0', '10.0.0.0/', '10.0.0.0/33'],
    ...['10.0.0.0/8/8', '10.0.0.0/-8', '10.0.0.0/255.0.0.0', '::/129', 'fe80::1%eth0', '[::1]'],
    ...['0.0.0.0/0', '::/0', '128.0.0.0/1', '10.0.0.0/7', '10.0.0.1,0.0.0.0/0', '2000::/3'],
    // All of IPv4 in its IPv6 spelling.
    ...['::ffff:0:0/96', '::FFFF:0.0.0.0/96', '0:0:0:0:0:ffff::/96', '::/64', '0:1::/8', '00ab::/8']
  ]) {
    refusal(t, 'TRUSTED_PROXIES', { ...COMPLETE, TRUSTED_PROXIES: list })
  }
})

t.test('a private network in which identity providers are is no more than one', async (t) => {
  const networksOf = (list: string) =>
    loadConfig({ ...COMPLETE, SSO_PRIVATE_NETWORKS: list }).ssoPrivateNetworks
  t.strictSame(networksOf(''), [])
  t.strictSame(networksOf('10.0.0.0/8, fd00::/8,192.168.1.7'), [
    ...['10.0.0.0/8', 'fd00::/8', '192.168.1.7']
  ])
  for (const list of ['*', 'login.internal', '10.0.0.0/33', '0.0.0.0/0', '::/0']) {
    refusal(t, 'SSO_PRIVATE_NETWORKS', { ...COMPLETE, SSO_PRIVATE_NETWORKS: list })
  }
})

t.test('the data folder is the embedded database’s, or ./data', async (t) => {
  t.equal(dataFolder('pglite:./data'), './data')
  t.equal(dataFolder('pglite:/var/lib/twostep'), '/var/lib/twostep')
  t.equal(dataFolder('postgresql://u:p@db/x'), './data')
})

t.test('outside production missing keys are made, kept, and told once', async (t) => {
  const DATABASE_URL = `pglite:${t.testdir()}`
  const first = loadConfig({ DATABASE_URL })
  const second = loadConfig({ DATABASE_URL })
  t.match(first.newLocalKeys, { masterKeys: /^local:/, operatorKey: /^tso_/ })
  t.equal(second.newLocalKeys, null)
  t.strictSame(second.masterKeys, first.masterKeys)
  t.strictSame(second.operatorKey, first.operatorKey)
})

t.test('one key from outside is used beside one that was made', async (t) => {
  const DATABASE_URL = `pglite:${t.testdir()}`
  const { masterKeys, operatorKey } = loadConfig({
    ...{ DATABASE_URL, OPERATOR_KEY: COMPLETE.OPERATOR_KEY }
  })
  t.equal(masterKeys[0].id, 'local')
  t.equal(operatorKey.id, ID)
})
