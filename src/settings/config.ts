// From the environment to one frozen Config. Parsing is pure: it opens no file and makes no key.
import { join } from 'node:path'
import type { AttemptLimits } from '../core/attempts.ts'
import type { MailLimits } from '../core/mail/limits.ts'
import type { Support } from '../core/support.ts'
import type { MasterKeys } from '../crypto/sealing.ts'
import { parseHost, parseHttpUrl, parseIssuer, parseNetworks, parseOrigins } from './addresses.ts'
import { ConfigError } from './config-error.ts'
import { DEFAULT_DATABASE_URL, dataFolderOf } from './data-folder.ts'
import { type Environment, requireInProduction } from './environment.ts'
import { type OperatorKey, parseMasterKeys, parseOperatorKey } from './keys.ts'
import type { LocalKeys } from './local-keys.ts'
import { type MailSettings, parseAddress, parseMailSettings } from './mail.ts'

/** Where the secrets are, and the keys that decrypt them. */
export interface StorageConfig {
  readonly databaseUrl: string
  readonly masterKeys: MasterKeys
}

export interface Config extends StorageConfig {
  readonly isProduction: boolean
  /** The `iss` of every token, and the base of the public URLs. */
  readonly issuer: string
  readonly operatorKey: OperatorKey
  readonly port: number
  readonly host: string
  /** The port of the metrics, on the same host. Null: nothing is counted. */
  readonly metricsPort: number | null
  /** The URL that receives traces by OTLP over HTTP. Null: nothing is traced. */
  readonly tracesUrl: string | null
  /** How long a start waits for an unavailable database. */
  readonly databaseWaitSeconds: number
  /** How long the service keeps serving after SIGTERM, while it reports not ready. */
  readonly shutdownDelaySeconds: number
  /** How long an idle connection stays open. */
  readonly keepAliveSeconds: number
  /** The maximum age of the first factor behind a step-up. */
  readonly sessionMaxSeconds: number
  /** Null: request limits are counted in this process only. */
  readonly redisUrl: string | null
  readonly mail: MailSettings
  readonly mailLimits: MailLimits
  /** The requirement of two-factor for every account of the deployment, with its reason. Null: none. */
  readonly mandate: { readonly requiredFrom: Date; readonly reason: string | null } | null
  /** The contact for users of accounts without their own. Null: none. */
  readonly support: Support | null
  /** Addresses and networks whose `X-Forwarded-For` is trusted. */
  readonly trustedProxies: readonly string[]
  /** Private networks in which identity providers may be contacted. */
  readonly ssoPrivateNetworks: readonly string[]
  /** The numbers of requests that the limits allow in a minute. */
  readonly rateLimits: {
    readonly perMinute: number
    readonly perKeyPerMinute: number
    readonly perAccountPerMinute: number
  }
  readonly codeAttempts: AttemptLimits
  /** The minimum length of the password of a user without a second factor. */
  readonly passwordMinLengthAlone: number
  /** How many whole months of the audit trail are kept. Null: all. */
  readonly auditRetentionMonths: number | null
  readonly corsOrigins: readonly string[]
  readonly logLevel: Environment['LOG_LEVEL']
}

const REQUIRED_IN_PRODUCTION = ['DATABASE_URL', 'MASTER_KEYS', 'ISSUER', 'OPERATOR_KEY'] as const
/** Kubernetes removes an ending pod from its proxies while it ends the pod. All proxies know after a few seconds. */
const PRODUCTION_SHUTDOWN_DELAY_SECONDS = 5

/**
 * Returns the configuration of the service. The local keys stand in for keys that the environment lacks.
 * Throws `ConfigError` for the first value that is not usable.
 */
export function parseConfig(environment: Environment, localKeys: LocalKeys | null = null): Config {
  requireInProduction(environment, REQUIRED_IN_PRODUCTION)
  const isProduction = environment.NODE_ENV === 'production'
  const { databaseUrl, masterKeys } = parseStorageConfig(environment, localKeys)
  const operatorKey = environment.OPERATOR_KEY ?? localKeys?.operatorKey
  if (operatorKey === undefined) throw new ConfigError('OPERATOR_KEY is not set')
  const issuer = parseIssuer(
    environment.ISSUER ?? new URL(`http://localhost:${environment.PORT}`).origin,
    { isProduction }
  )

  return Object.freeze({
    isProduction,
    databaseUrl,
    masterKeys,
    issuer,
    operatorKey: parseOperatorKey(operatorKey, { isProduction, masterKeys }),
    port: environment.PORT,
    host: parseHost(environment.HOST),
    metricsPort: parseMetricsPort(environment),
    tracesUrl: parseTracesUrl(environment),
    databaseWaitSeconds: environment.DATABASE_WAIT_SECONDS,
    shutdownDelaySeconds: environment.SHUTDOWN_DELAY_SECONDS ?? defaultShutdownDelay(isProduction),
    keepAliveSeconds: environment.KEEP_ALIVE_SECONDS,
    sessionMaxSeconds: environment.SESSION_MAX_SECONDS,
    redisUrl: environment.REDIS_URL ?? null,
    mail: parseMailSettings(environment, {
      issuer,
      folder: isProduction ? null : join(dataFolderOf(databaseUrl), 'mail')
    }),
    mailLimits: Object.freeze({
      perRecipientPerHour: environment.MAIL_PER_RECIPIENT_PER_HOUR,
      perAccountPerHour: environment.MAIL_PER_ACCOUNT_PER_HOUR
    }),
    mandate: parseMandate(environment),
    support: parseSupport(environment),
    // A client in a network that is trusted as a proxy can write any address into X-Forwarded-For.
    trustedProxies: parseNetworks('TRUSTED_PROXIES', environment.TRUSTED_PROXIES),
    // A very wide network would contain addresses that no account's policy may make the service contact.
    ssoPrivateNetworks: parseNetworks('SSO_PRIVATE_NETWORKS', environment.SSO_PRIVATE_NETWORKS),
    rateLimits: Object.freeze({
      perMinute: environment.RATE_LIMIT_PER_MINUTE,
      perKeyPerMinute: environment.RATE_LIMIT_PER_KEY_PER_MINUTE,
      perAccountPerMinute: environment.RATE_LIMIT_PER_ACCOUNT_PER_MINUTE
    }),
    codeAttempts: parseCodeAttempts(environment),
    passwordMinLengthAlone: environment.PASSWORD_MIN_LENGTH_ALONE,
    auditRetentionMonths: environment.AUDIT_RETENTION_MONTHS ?? null,
    corsOrigins: parseOrigins(environment.CORS_ORIGINS),
    logLevel: environment.LOG_LEVEL
  })
}

/** Returns the part of the configuration that commands need to read the database. Throws `ConfigError`. */
export function parseStorageConfig(
  environment: Environment,
  localKeys: LocalKeys | null
): StorageConfig {
  requireInProduction(environment, ['DATABASE_URL', 'MASTER_KEYS'])
  const masterKeys = environment.MASTER_KEYS ?? localKeys?.masterKeys
  if (masterKeys === undefined) throw new ConfigError('MASTER_KEYS is not set')
  return {
    databaseUrl: environment.DATABASE_URL ?? DEFAULT_DATABASE_URL,
    masterKeys: parseMasterKeys(masterKeys, {
      isProduction: environment.NODE_ENV === 'production'
    })
  }
}

function defaultShutdownDelay(isProduction: boolean): number {
  return isProduction ? PRODUCTION_SHUTDOWN_DELAY_SECONDS : 0
}

function parseMetricsPort({ PORT, METRICS_PORT }: Environment): number | null {
  if (METRICS_PORT === PORT) throw new ConfigError('METRICS_PORT must differ from PORT')
  return METRICS_PORT ?? null
}

/** The default of a collector (OpenTelemetry Protocol Exporter, §Configuration Options). */
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

function parseCodeAttempts(environment: Environment): AttemptLimits {
  const { CODE_ATTEMPTS_BEFORE_LOCK, CODE_ATTEMPTS_BEFORE_DISABLED } = environment
  // Otherwise a few wrong codes would disable the codes, and no lock would slow down an attacker before.
  if (CODE_ATTEMPTS_BEFORE_DISABLED <= CODE_ATTEMPTS_BEFORE_LOCK) {
    throw new ConfigError(
      'CODE_ATTEMPTS_BEFORE_DISABLED must be greater than CODE_ATTEMPTS_BEFORE_LOCK'
    )
  }
  return Object.freeze({
    perStepToken: environment.CODE_ATTEMPTS_PER_STEP_TOKEN,
    beforeLock: CODE_ATTEMPTS_BEFORE_LOCK,
    lockSeconds: environment.CODE_LOCK_SECONDS,
    beforeDisabled: CODE_ATTEMPTS_BEFORE_DISABLED
  })
}

/** Without MANDATE_FROM there is no mandate, and its reason has no effect. */
function parseMandate({ MANDATE_FROM, MANDATE_REASON }: Environment) {
  const reason = MANDATE_REASON ?? null
  const requiredFrom = parseInstant('MANDATE_FROM', MANDATE_FROM)
  if (reason !== null && !isPrintable(reason)) {
    throw new ConfigError('MANDATE_REASON must be one line of text')
  }
  return requiredFrom && Object.freeze({ requiredFrom, reason })
}

function parseSupport({ SUPPORT_URL, SUPPORT_EMAIL }: Environment): Support | null {
  const email = SUPPORT_EMAIL === undefined ? null : parseAddress(SUPPORT_EMAIL)
  if (SUPPORT_EMAIL !== undefined && email === null) {
    throw new ConfigError('SUPPORT_EMAIL must be one e-mail address')
  }
  const url = SUPPORT_URL === undefined ? null : parseSupportUrl(SUPPORT_URL)
  return url === null && email === null ? null : Object.freeze({ url, email })
}

function parseSupportUrl(text: string): string {
  if (/^https?:\/\/[!-~]{1,490}$/.test(text) && URL.canParse(text)) return text
  throw new ConfigError('SUPPORT_URL must be the URL of a page, such as https://help.example.com')
}

/** Whether a text has a visible character, and no control character. */
function isPrintable(text: string): boolean {
  return /\S/.test(text) && !/\p{Cc}/u.test(text)
}

const RFC3339 = /^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d+)?(Z|[+-]\d{2}:\d{2})$/

/** `Date` reads 30 February as 2 March, and hour 24 as the next day. RFC 3339 §5.7 has neither. */
function isCalendarDay(text: string): boolean {
  const [day = '', time = ''] = text.split('T')
  const midnight = new Date(`${day}T00:00:00Z`)
  return midnight.toISOString().startsWith(day) && !time.startsWith('24')
}

function parseInstant(key: string, text: string | undefined): Date | null {
  if (text === undefined) return null
  const at = new Date(text)
  if (!RFC3339.test(text) || Number.isNaN(at.getTime()) || !isCalendarDay(text)) {
    throw new ConfigError(`${key} must be an instant such as 2027-01-01T00:00:00Z`)
  }
  return at
}
