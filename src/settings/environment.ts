// The environment contract: every key that the service reads, with its meaning, its bounds and its default. One file, because
// it is one table.
import { envSchema } from 'env-schema'
import { type Static, Type } from 'typebox'
import { CODE_ATTEMPTS } from '../core/attempts.ts'
import { PASSWORD_LENGTH_MIN } from '../core/passwords/passwords.ts'
import { ConfigError } from './config-error.ts'

/** Every key that the service reads. `.env.example` lists the same keys. */
export const Environment = Type.Object({
  NODE_ENV: Type.Enum(['development', 'test', 'production'], {
    default: 'development',
    description:
      'The mode of the service. Production requires DATABASE_URL, MASTER_KEYS, ISSUER and OPERATOR_KEY.'
  }),
  DATABASE_URL: Type.Optional(
    Type.String({
      pattern: '^(pglite:.+|postgres(ql)?://.+)$',
      examples: ['pglite:./data', 'postgresql://user:password@host:5432/name'],
      description:
        'The database: pglite:<folder> runs PostgreSQL inside a single process, postgresql://… is a server for any number of replicas.'
    })
  ),
  MASTER_KEYS: Type.Optional(
    Type.String({
      minLength: 1,
      description:
        'The keys that encrypt secrets at rest, as id:key[,id:key] with the newest first. Each key is 32 random bytes in padded base64.'
    })
  ),
  ISSUER: Type.Optional(
    Type.String({
      minLength: 1,
      description:
        'The public URL of the service without a slash at its end. It is the `iss` claim of every token.'
    })
  ),
  OPERATOR_KEY: Type.Optional(
    Type.String({
      minLength: 1,
      description:
        'The credential that creates accounts: tso_<12 characters a-z0-9>_<43 characters base64url>. A new value revokes the previous one.'
    })
  ),
  PORT: Type.Integer({
    default: 3000,
    minimum: 0,
    maximum: 65535,
    description: 'The port of the API. 0 takes any free port.'
  }),
  HOST: Type.String({
    default: '127.0.0.1',
    minLength: 1,
    description: 'The address to listen on. 0.0.0.0 listens on all IPv4 addresses.'
  }),
  TRUSTED_PROXIES: Type.String({
    default: '',
    description:
      'Addresses or networks of the proxies in front, separated by commas. X-Forwarded-For is trusted only from them.'
  }),
  CORS_ORIGINS: Type.String({
    default: '',
    description:
      'Exact origins of the front ends that call from a browser, separated by commas. Empty: none.'
  }),
  SMTP_URL: Type.Optional(
    Type.String({
      minLength: 1,
      description:
        'The mail server: smtp://user:password@host:587, or smtps://… for TLS from the first byte. Unset: mails become .eml files in the data folder; in production no mail is sent, and notifications wait in the outbox and are discarded after five days.'
    })
  ),
  MAIL_FROM: Type.Optional(
    Type.String({
      minLength: 1,
      description:
        'The sender of mails: an address, or Name <address>. The name of the account comes before the name, as in “Acme via Name”. Unset: twostep <no-reply@host of ISSUER>.'
    })
  ),
  MAIL_PER_RECIPIENT_PER_HOUR: Type.Integer({
    default: 10,
    minimum: 1,
    maximum: 100_000_000,
    description: 'Mails of one kind to one recipient in an hour. The newest stands for the others.'
  }),
  MAIL_PER_ACCOUNT_PER_HOUR: Type.Integer({
    default: 10_000,
    minimum: 1,
    maximum: 100_000_000,
    description: 'Mails of one account in an hour, except announcements to all of its users.'
  }),
  MANDATE_FROM: Type.Optional(
    Type.String({
      minLength: 1,
      description:
        'The instant from which every account requires two-factor, such as 2027-01-01T00:00:00Z. Unset: no mandate for the whole deployment.'
    })
  ),
  MANDATE_REASON: Type.Optional(
    Type.String({
      minLength: 1,
      maxLength: 500,
      description:
        'Why MANDATE_FROM requires two-factor, in words for the users and admins of all accounts.'
    })
  ),
  SUPPORT_URL: Type.Optional(
    Type.String({
      minLength: 1,
      description:
        'The page where users get help, for accounts without a contact of their own. Mails and some problems name it.'
    })
  ),
  SUPPORT_EMAIL: Type.Optional(
    Type.String({
      minLength: 1,
      description: 'The address where users get help, for accounts without a contact of their own.'
    })
  ),
  SSO_PRIVATE_NETWORKS: Type.String({
    default: '',
    description:
      'Private networks in which identity providers may be contacted, separated by commas, such as 10.0.0.0/8. Outside production, addresses of this machine are always allowed, also over http.'
  }),
  REDIS_URL: Type.Optional(
    Type.String({
      pattern: '^rediss?://.+$',
      examples: ['redis://host:6379', 'rediss://host:6379'],
      description:
        'A Redis that shares the request limits among replicas. Unset: each process counts only its own requests.'
    })
  ),
  RATE_LIMIT_PER_MINUTE: Type.Integer({
    default: 120,
    minimum: 1,
    maximum: 100_000_000,
    description:
      'Requests per minute from one address (IPv6: one /64) without a valid key. The limit per user and address on the code routes is a quarter of it.'
  }),
  RATE_LIMIT_PER_KEY_PER_MINUTE: Type.Integer({
    default: 6000,
    minimum: 1,
    maximum: 100_000_000,
    description: 'Requests per minute with one valid API key.'
  }),
  RATE_LIMIT_PER_ACCOUNT_PER_MINUTE: Type.Integer({
    default: 12_000,
    minimum: 1,
    maximum: 100_000_000,
    description: 'Requests per minute with all valid API keys of one account.'
  }),
  PASSWORD_MIN_LENGTH_ALONE: Type.Integer({
    default: PASSWORD_LENGTH_MIN,
    minimum: PASSWORD_LENGTH_MIN,
    maximum: 64,
    description:
      'The least number of characters of a new password of a user who does not need a second factor. NIST SP 800-63B-4 requires 15.'
  }),
  CODE_ATTEMPTS_PER_STEP_TOKEN: Type.Integer({
    default: CODE_ATTEMPTS.perStepToken,
    minimum: 1,
    maximum: 10,
    description: 'Guesses at a code under one step token.'
  }),
  CODE_ATTEMPTS_BEFORE_LOCK: Type.Integer({
    default: CODE_ATTEMPTS.beforeLock,
    minimum: 3,
    maximum: 20,
    description:
      'Wrong codes in a row that lock the code path of a user. Each further run of as many locks it again.'
  }),
  CODE_LOCK_SECONDS: Type.Integer({
    default: CODE_ATTEMPTS.lockSeconds,
    minimum: 60,
    maximum: 86_400,
    description: 'How long such a lock lasts.'
  }),
  CODE_ATTEMPTS_BEFORE_DISABLED: Type.Integer({
    default: CODE_ATTEMPTS.beforeDisabled,
    minimum: 10,
    maximum: 100,
    description:
      'Wrong codes in a row that disable the code path until a recovery code or a reset. NIST SP 800-63B-4 §3.2.2 allows at most 100.'
  }),
  AUDIT_RETENTION_MONTHS: Type.Optional(
    Type.Integer({
      minimum: 1,
      maximum: 1200,
      description:
        'How many whole months of the audit trail are kept, in addition to the current one. Unset: all.'
    })
  ),
  DATABASE_WAIT_SECONDS: Type.Integer({
    default: 30,
    minimum: 0,
    maximum: 3600,
    description: 'How long a start waits for an unavailable database before it ends with an error.'
  }),
  SHUTDOWN_DELAY_SECONDS: Type.Optional(
    Type.Integer({
      minimum: 0,
      maximum: 300,
      description:
        'How long the service keeps serving after SIGTERM while it reports not ready, so that load balancers can drain it. Unset: 5 in production, 0 otherwise.'
    })
  ),
  SESSION_MAX_SECONDS: Type.Integer({
    default: 12 * 60 * 60,
    minimum: 1,
    maximum: 30 * 24 * 60 * 60,
    description:
      'The maximum age of the first factor of a session that a code or a set-up may extend. Then the user must sign in again.'
  }),
  KEEP_ALIVE_SECONDS: Type.Integer({
    default: 72,
    minimum: 1,
    maximum: 3600,
    description:
      'How long an idle connection stays open. It must be longer than the load balancer in front keeps idle connections, which is often 60 seconds.'
  }),
  METRICS_PORT: Type.Optional(
    Type.Integer({
      minimum: 1,
      maximum: 65535,
      description:
        'A second port on HOST that serves /metrics to Prometheus without a credential. Do not expose it to the public. Unset: no metrics.'
    })
  ),
  // OpenTelemetry defines these names. Its SDK and exporter read the rest of its variables themselves.
  OTEL_EXPORTER_OTLP_ENDPOINT: Type.Optional(
    Type.String({
      minLength: 1,
      description:
        'Turns tracing on: the base URL of an OpenTelemetry collector that accepts OTLP over HTTP, such as http://localhost:4318.'
    })
  ),
  OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: Type.Optional(
    Type.String({
      minLength: 1,
      description:
        'Turns tracing on: the whole URL for traces, if its path is not /v1/traces below the base URL.'
    })
  ),
  OTEL_TRACES_EXPORTER: Type.Optional(
    Type.Enum(['otlp', 'none'], {
      description:
        'otlp turns tracing on, to http://localhost:4318 if no endpoint is set. none turns it off.'
    })
  ),
  OTEL_SDK_DISABLED: Type.Optional(
    Type.Enum(['true', 'false'], { description: 'true turns tracing off.' })
  ),
  LOG_LEVEL: Type.Enum(['fatal', 'error', 'warn', 'info', 'debug', 'trace', 'silent'], {
    default: 'info',
    description: 'The least severe log messages that are written.'
  })
})
export type Environment = Static<typeof Environment>
type Key = keyof Environment

/** Reads the keys of the contract and fills in their defaults. Throws `ConfigError` for a value of the wrong form. */
export function readEnvironment(env: NodeJS.ProcessEnv): Environment {
  // Compose files and shells pass on an unset variable as an empty one.
  const data = Object.fromEntries(Object.entries(env).filter(([, value]) => value !== ''))
  requireDigits(data)
  return readBySchema(data)
}

/** Throws `ConfigError` in production for the first of the keys that is not set. */
export function requireInProduction(environment: Environment, keys: readonly Key[]): void {
  if (environment.NODE_ENV !== 'production') return
  const missing = keys.find((key) => environment[key] === undefined)
  if (missing) throw new ConfigError(`${missing} is required in production`)
}

/** Integers are digits. Ajv reads whatever JavaScript's Number does: 0xBB8, 1e3, surrounding spaces. */
function requireDigits(data: NodeJS.ProcessEnv): void {
  for (const [key, shape] of Object.entries<Shape & { type?: string }>(Environment.properties)) {
    const value = data[key]
    if (shape.type !== 'integer' || value === undefined || /^\d{1,15}$/.test(value)) continue
    throw new ConfigError(`${key} ${requirementOf(key as Key)}`)
  }
}

function readBySchema(data: NodeJS.ProcessEnv): Environment {
  try {
    return envSchema<Environment>({ schema: Environment, data, env: false })
  } catch (error) {
    throw new ConfigError(describe(error))
  }
}

interface SchemaErrors {
  errors: { instancePath: string; message?: string }[]
}

function describe(error: unknown): string {
  const { errors } = error as Error & SchemaErrors
  if (!Array.isArray(errors)) return String(error)
  return errors
    .map(({ instancePath, message }) => {
      const key = instancePath.slice(1)
      return Object.hasOwn(Environment.properties, key)
        ? `${key} ${requirementOf(key as Key) ?? message}`
        : `environment ${message}`
    })
    .join('; ')
}

interface Shape {
  enum?: readonly string[]
  minimum?: number
  maximum?: number
  examples?: readonly string[]
}

/** Returns the predicate of a start-up error, such as `must be an integer from 0 to 65535`. */
function requirementOf(key: Key): string | null {
  const shape = Environment.properties[key] as Shape
  if (shape.enum) return `must be one of ${shape.enum.join(', ')}`
  if (shape.examples) return `must be of the form ${shape.examples.join(' or ')}`
  if (shape.minimum === undefined) return null
  return `must be an integer from ${shape.minimum} to ${shape.maximum}`
}
