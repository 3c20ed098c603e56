// The environment contract, declared once: what may be set, what each key means, and one frozen Config.
import { isIP, isIPv6 } from 'node:net'
import { join } from 'node:path'
import { envSchema } from 'env-schema'
import { type Static, Type } from 'typebox'
import { type AttemptLimits, CODE_ATTEMPTS } from '../core/attempts.ts'
import { hashBearerSecret, parseBearerKey } from '../core/bearer-keys.ts'
import type { MasterKey, MasterKeys } from '../crypto/sealing.ts'
import { type LocalKeys, readLocalKeys } from './local-keys.ts'
import { type MailSettings, mailDomainOf, parseMailbox, parseMailServer } from './mail.ts'

/** Every key of the environment that the service reads. `.env.example` lists the same. */
export const Environment = Type.Object({
  NODE_ENV: Type.Enum(['development', 'test', 'production'], { default: 'development' }),
  DATABASE_URL: Type.Optional(Type.String({ pattern: '^(pglite:.+|postgres(ql)?://.+)$' })),
  MASTER_KEYS: Type.Optional(Type.String({ minLength: 1 })),
  ISSUER: Type.Optional(Type.String({ minLength: 1 })),
  OPERATOR_KEY: Type.Optional(Type.String({ minLength: 1 })),
  PORT: Type.Integer({ default: 3000, minimum: 0, maximum: 65535 }),
  HOST: Type.String({ default: '127.0.0.1', minLength: 1 }),
  METRICS_PORT: Type.Optional(Type.Integer({ minimum: 1, maximum: 65535 })),
  // OpenTelemetry's own names; what else it defines is read by its exporter and its SDK.
  OTEL_EXPORTER_OTLP_ENDPOINT: Type.Optional(Type.String({ minLength: 1 })),
  OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: Type.Optional(Type.String({ minLength: 1 })),
  OTEL_TRACES_EXPORTER: Type.Optional(Type.Enum(['otlp', 'none'])),
  OTEL_SDK_DISABLED: Type.Optional(Type.Enum(['true', 'false'])),
  DATABASE_WAIT_SECONDS: Type.Integer({ default: 30, minimum: 0, maximum: 3600 }),
  SHUTDOWN_DELAY_SECONDS: Type.Optional(Type.Integer({ minimum: 0, maximum: 300 })),
  REDIS_URL: Type.Optional(Type.String({ pattern: '^rediss?://.+$' })),
  SMTP_URL: Type.Optional(Type.String({ minLength: 1 })),
  MAIL_FROM: Type.Optional(Type.String({ minLength: 1 })),
  MANDATE_FROM: Type.Optional(Type.String({ minLength: 1 })),
  TRUSTED_PROXIES: Type.String({ default: '' }),
  SSO_PRIVATE_NETWORKS: Type.String({ default: '' }),
  RATE_LIMIT_PER_MINUTE: Type.Integer({ default: 120, minimum: 1, maximum: 100_000_000 }),
  CODE_ATTEMPTS_PER_STEP_TOKEN: Type.Integer({
    default: CODE_ATTEMPTS.perStepToken,
    minimum: 1,
    maximum: 10
  }),
  CODE_ATTEMPTS_BEFORE_LOCK: Type.Integer({
    default: CODE_ATTEMPTS.beforeLock,
    minimum: 3,
    maximum: 20
  }),
  CODE_LOCK_SECONDS: Type.Integer({
    default: CODE_ATTEMPTS.lockSeconds,
    minimum: 60,
    maximum: 86_400
  }),
  // NIST SP 800-63B-4 §3.2.2: never more than 100 in a row.
  CODE_ATTEMPTS_BEFORE_DISABLED: Type.Integer({
    default: CODE_ATTEMPTS.beforeDisabled,
    minimum: 10,
    maximum: 100
  }),
  CORS_ORIGINS: Type.String({ default: '' }),
  LOG_LEVEL: Type.Enum(['fatal', 'error', 'warn', 'info', 'debug', 'trace', 'silent'], {
    default: 'info'
  })
})
type Environment = Static<typeof Environment>

export interface Config {
  readonly isProduction: boolean
  readonly databaseUrl: string
  readonly masterKeys: MasterKeys
  /** The `iss` of every token, and the base of the public URLs. */
  readonly issuer: string
  readonly operatorKey: { readonly id: string; readonly secretHash: Uint8Array }
  readonly port: number
  readonly host: string
  /** Where Prometheus asks, on the same host; null: nothing is counted. */
  readonly metricsPort: number | null
  /** Where traces are sent, by OTLP over HTTP; null: nothing is traced. */
  readonly tracesUrl: string | null
  /** How long a start waits for a database that is away. */
  readonly databaseWaitSeconds: number
  /** How long the service goes on answering, not ready any more, once it is told to stop. */
  readonly shutdownDelaySeconds: number
  /** Null: request limits are counted in this process alone. */
  readonly redisUrl: string | null
  readonly mail: MailSettings
  /** From when on every account of the deployment must require two-factor; null: never. */
  readonly mandateFrom: Date | null
  /** Addresses and networks whose `X-Forwarded-For` is believed. */
  readonly trustedProxies: readonly string[]
  /** Networks that are not public, and in which identity providers may be asked all the same. */
  readonly ssoPrivateNetworks: readonly string[]
  readonly rateLimitPerMinute: number
  readonly codeAttempts: AttemptLimits
  readonly corsOrigins: readonly string[]
  readonly logLevel: Environment['LOG_LEVEL']
  /** Keys that were made for this start because the environment had none; to be shown once. */
  readonly newLocalKeys: LocalKeys | null
}

/** What a bad environment stops the start with. The message names the key and never shows its value. */
export class ConfigError extends Error {
  override name = 'ConfigError'
}

const DEFAULT_DATA_FOLDER = './data'
const REQUIRED_IN_PRODUCTION = ['DATABASE_URL', 'MASTER_KEYS', 'ISSUER', 'OPERATOR_KEY'] as const
const MASTER_KEY_BYTES = 32
/** Kubernetes tells its proxies that a pod ends while it ends it; a few seconds later all of them have heard. */
const PRODUCTION_SHUTDOWN_DELAY_SECONDS = 5

/**
 * Reads the environment. Outside production, missing keys are made once and kept in the data folder. Throws
 * `ConfigError` at the first value that can't be used.
 */
export function loadConfig(env: NodeJS.ProcessEnv): Config {
  const environment = readEnvironment(env)
  const isProduction = environment.NODE_ENV === 'production'
  if (isProduction) {
    for (const key of REQUIRED_IN_PRODUCTION) {
      if (environment[key] === undefined) throw new ConfigError(`${key} is required in production`)
    }
  }
  const databaseUrl = environment.DATABASE_URL ?? `pglite:${DEFAULT_DATA_FOLDER}`
  const lacksKeys = !environment.MASTER_KEYS || !environment.OPERATOR_KEY
  const local = lacksKeys ? localKeysOf(databaseUrl) : null
  const masterKeys = environment.MASTER_KEYS ?? local?.keys.masterKeys ?? ''
  const operatorKey = environment.OPERATOR_KEY ?? local?.keys.operatorKey ?? ''
  const ring = parseMasterKeys(masterKeys, isProduction)
  const issuer = parseIssuer(
    environment.ISSUER ?? new URL(`http://localhost:${environment.PORT}`).origin
  )
  const mailFolder = isProduction ? null : join(dataFolder(databaseUrl), 'mail')

  return Object.freeze({
    isProduction,
    databaseUrl,
    masterKeys: ring,
    issuer,
    operatorKey: parseOperatorKey(operatorKey, { isProduction, masterKeys: ring }),
    port: environment.PORT,
    host: environment.HOST,
    metricsPort: parseMetricsPort(environment),
    tracesUrl: parseTracesUrl(environment),
    databaseWaitSeconds: environment.DATABASE_WAIT_SECONDS,
    shutdownDelaySeconds: shutdownDelayOf(environment),
    redisUrl: environment.REDIS_URL ?? null,
    mail: parseMail(environment, issuer, mailFolder),
    mandateFrom: parseInstant('MANDATE_FROM', environment.MANDATE_FROM),
    // Whoever is behind a network this wide could write any address into X-Forwarded-For.
    trustedProxies: parseNetworks('TRUSTED_PROXIES', environment.TRUSTED_PROXIES),
    // And this wide, it would hold the addresses that no account's policy may make us call.
    ssoPrivateNetworks: parseNetworks('SSO_PRIVATE_NETWORKS', environment.SSO_PRIVATE_NETWORKS),
    rateLimitPerMinute: environment.RATE_LIMIT_PER_MINUTE,
    codeAttempts: Object.freeze({
      perStepToken: environment.CODE_ATTEMPTS_PER_STEP_TOKEN,
      beforeLock: environment.CODE_ATTEMPTS_BEFORE_LOCK,
      lockSeconds: environment.CODE_LOCK_SECONDS,
      beforeDisabled: environment.CODE_ATTEMPTS_BEFORE_DISABLED
    }),
    corsOrigins: parseOrigins(environment.CORS_ORIGINS),
    logLevel: environment.LOG_LEVEL,
    newLocalKeys: local?.isNew ? local.keys : null
  })
}

function shutdownDelayOf({ NODE_ENV, SHUTDOWN_DELAY_SECONDS }: Environment): number {
  const fallback = NODE_ENV === 'production' ? PRODUCTION_SHUTDOWN_DELAY_SECONDS : 0
  return SHUTDOWN_DELAY_SECONDS ?? fallback
}

/** Where the embedded database, local keys and mails of a development start are kept. */
export function dataFolder(databaseUrl: string): string {
  return databaseUrl.startsWith('pglite:')
    ? databaseUrl.slice('pglite:'.length)
    : DEFAULT_DATA_FOLDER
}

function localKeysOf(databaseUrl: string): ReturnType<typeof readLocalKeys> {
  const folder = dataFolder(databaseUrl)
  try {
    return readLocalKeys(folder)
  } catch (error) {
    const isUnreadable = error instanceof SyntaxError
    // What can't be parsed is not quoted: it is a file of secrets.
    const reason = isUnreadable ? 'not JSON' : (error as Error).message
    throw new ConfigError(`MASTER_KEYS is not set, and ${folder} can't keep local keys: ${reason}`)
  }
}

function readEnvironment(env: NodeJS.ProcessEnv): Environment {
  // An empty value means "not set": that is how compose files and shells pass on what they don't have.
  const given = Object.fromEntries(Object.entries(env).filter(([, value]) => value !== ''))
  const environment = readBySchema(given)
  // Ajv reads "Infinity" as an integer, and compares no bounds with it.
  for (const [key, value] of Object.entries(environment)) {
    const isBoundless = typeof value === 'number' && !Number.isFinite(value)
    if (isBoundless) throw new ConfigError(`${key} must be finite`)
  }
  return environment
}

function readBySchema(data: NodeJS.ProcessEnv): Environment {
  try {
    return envSchema<Environment>({ schema: Environment, data, env: false })
  } catch (error) {
    throw new ConfigError(namedByKey(error))
  }
}

interface SchemaErrors {
  errors: { instancePath: string; message?: string }[]
}

function namedByKey(error: unknown): string {
  const { errors } = error as Error & SchemaErrors
  if (!Array.isArray(errors)) return String(error)
  return errors
    .map(({ instancePath, message }) => `${instancePath.slice(1) || 'environment'} ${message}`)
    .join('; ')
}

function parseMasterKeys(text: string, isProduction: boolean): MasterKeys {
  const [newest, ...older] = text.split(',').map(parseMasterKey)
  if (!newest) throw new ConfigError('MASTER_KEYS must list at least one key')
  const ring: MasterKeys = [newest, ...older]
  if (new Set(ring.map(({ id }) => id)).size < ring.length) {
    throw new ConfigError('MASTER_KEYS must not use a key id twice')
  }
  if (new Set(ring.map(({ key }) => Buffer.from(key).toString('hex'))).size < ring.length) {
    throw new ConfigError('MASTER_KEYS must not list the same key twice')
  }
  // Random bytes hardly ever repeat this much; a key made by hand ("aaaa…", zeros) does.
  const isMadeByHand = ring.some(({ key }) => new Set(key).size < MASTER_KEY_BYTES / 2)
  if (isProduction && isMadeByHand) throw new ConfigError('MASTER_KEYS must be random')
  return ring
}

function parseMasterKey(text: string): MasterKey {
  const [, id, encoded] = /^\s*([A-Za-z0-9_-]{1,32}):([A-Za-z0-9+/]+={0,2})\s*$/.exec(text) ?? []
  if (id === undefined || encoded === undefined) {
    throw new ConfigError('MASTER_KEYS must be id:key[,id:key], each key in padded standard base64')
  }
  const key = Buffer.from(encoded, 'base64')
  if (key.length !== MASTER_KEY_BYTES || key.toString('base64') !== encoded) {
    throw new ConfigError(
      `MASTER_KEYS must hold keys of ${MASTER_KEY_BYTES} bytes in padded base64`
    )
  }
  return { id, key }
}

function parseIssuer(text: string): string {
  const url = URL.canParse(text) ? new URL(text) : null
  // Compared byte for byte by everyone who checks `iss`, so only the spelling that URL parsers agree on.
  const isNormal = url && (url.href === text || url.href === `${text}/`) && !text.endsWith('/')
  const isIssuer = isNormal && /^https?:\/\/[^?#@]+$/.test(text)
  if (!isIssuer) {
    throw new ConfigError(
      'ISSUER must be an http(s) URL in its normal form, without credentials, a query, a fragment or a slash at its end'
    )
  }
  return text
}

function parseOperatorKey(
  text: string,
  { isProduction, masterKeys }: Pick<Config, 'isProduction' | 'masterKeys'>
): Config['operatorKey'] {
  const key = parseBearerKey(text)
  if (key?.kind !== 'operator') {
    throw new ConfigError(
      'OPERATOR_KEY must be tso_<12 characters a-z0-9>_<43 characters base64url>'
    )
  }
  if (isProduction && new Set(key.secret).size < 16) {
    throw new ConfigError('OPERATOR_KEY must be random')
  }
  // The one goes over the network with every call of the operator; the other must never leave the service.
  if (masterKeys.some((master) => Buffer.from(key.secret, 'base64url').equals(master.key))) {
    throw new ConfigError('OPERATOR_KEY must not be one of MASTER_KEYS')
  }
  return Object.freeze({ id: key.id, secretHash: hashBearerSecret(key.secret) })
}

function parseMail(environment: Environment, issuer: string, folder: string | null): MailSettings {
  const { SMTP_URL, MAIL_FROM } = environment
  const server = SMTP_URL === undefined ? null : parseMailServer(SMTP_URL)
  if (SMTP_URL !== undefined && server === null) {
    throw new ConfigError(
      'SMTP_URL must be smtp://host:port or smtps://host:port, with user:password@ before the host where the server asks for them, both percent-encoded'
    )
  }
  const domain = mailDomainOf(issuer)
  const fallback = Object.freeze({ name: 'twostep', address: `no-reply@${domain}` })
  const from = MAIL_FROM === undefined ? fallback : parseMailbox(MAIL_FROM)
  if (from === null) throw new ConfigError('MAIL_FROM must be an address, or Name <address>')
  return Object.freeze({ server, folder, from, domain })
}

function parseMetricsPort({ PORT, METRICS_PORT }: Environment): number | null {
  if (METRICS_PORT === PORT) throw new ConfigError('METRICS_PORT must differ from PORT')
  return METRICS_PORT ?? null
}

/** Where the collector listens unless told otherwise (OpenTelemetry Protocol Exporter, §Configuration Options). */
const DEFAULT_OTLP_ENDPOINT = 'http://localhost:4318'

function parseTracesUrl({
  OTEL_EXPORTER_OTLP_ENDPOINT,
  OTEL_EXPORTER_OTLP_TRACES_ENDPOINT,
  OTEL_TRACES_EXPORTER,
  OTEL_SDK_DISABLED
}: Environment): string | null {
  if (OTEL_SDK_DISABLED === 'true' || OTEL_TRACES_EXPORTER === 'none') return null
  if (OTEL_EXPORTER_OTLP_TRACES_ENDPOINT !== undefined) {
    return parseHttpUrl('OTEL_EXPORTER_OTLP_TRACES_ENDPOINT', OTEL_EXPORTER_OTLP_TRACES_ENDPOINT)
  }
  if (OTEL_EXPORTER_OTLP_ENDPOINT === undefined && OTEL_TRACES_EXPORTER === undefined) return null
  const base = OTEL_EXPORTER_OTLP_ENDPOINT ?? DEFAULT_OTLP_ENDPOINT
  return `${parseHttpUrl('OTEL_EXPORTER_OTLP_ENDPOINT', base).replace(/\/$/, '')}/v1/traces`
}

function parseHttpUrl(key: string, text: string): string {
  if (URL.canParse(text) && /^https?:$/.test(new URL(text).protocol)) return text
  throw new ConfigError(`${key} must be an http(s) URL`)
}

const RFC3339 = /^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d+)?(Z|[+-]\d{2}:\d{2})$/

function parseInstant(key: string, text: string | undefined): Date | null {
  if (text === undefined) return null
  const at = new Date(text)
  if (!RFC3339.test(text) || Number.isNaN(at.getTime())) {
    throw new ConfigError(`${key} must be an instant such as 2027-01-01T00:00:00Z`)
  }
  return at
}

function parseNetworks(key: string, text: string): readonly string[] {
  const networks = listOf(text)
  for (const network of networks) {
    const [, address = '', bits] = /^([0-9a-f.:]+)(?:\/(\d{1,3}))?$/i.exec(network) ?? []
    const family = isIP(address)
    if (family === 0 || Number(bits ?? 0) > (family === 4 ? 32 : 128)) {
      throw new ConfigError(`${key} must list addresses or networks such as 10.0.0.0/8`)
    }
    if (bits !== undefined && (Number(bits) < 8 || isAmongMapped(address))) {
      throw new ConfigError(`${key} must not trust (nearly) every address`)
    }
  }
  return Object.freeze(networks)
}

// In ::/8, where every IPv4 address has its IPv6 twin: ::ffff:0:0/96 is all of IPv4.
function isAmongMapped(address: string): boolean {
  return isIPv6(address) && /^\[(::|[0-9a-f]{1,2}:)/.test(new URL(`http://[${address}]`).hostname)
}

function listOf(text: string): string[] {
  return text
    .split(',')
    .map((item) => item.trim())
    .filter((item) => item !== '')
}

function parseOrigins(text: string): readonly string[] {
  const origins = listOf(text)
  for (const origin of origins) {
    const isExact = URL.canParse(origin) && new URL(origin).origin === origin
    if (!isExact || !/^https?:\/\/[^*]+$/.test(origin)) {
      throw new ConfigError(`CORS_ORIGINS must list exact origins such as https://app.example.com`)
    }
  }
  return Object.freeze(origins)
}
