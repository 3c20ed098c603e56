// The composition root: the order of checks as a table, then the parts, then the routes.
import type { FastifyBaseLogger, FastifyInstance, FastifyPluginCallback } from 'fastify'
import { createFastify } from './fastify.ts'
import { backgroundJobs } from './jobs.ts'
import { createParts, type Parts, type PartsOptions } from './parts.ts'
import { background } from './plugins/background.ts'
import { clientAddresses } from './plugins/client-addresses.ts'
import { freshness, kindAndScope, role } from './plugins/credentials/admission.ts'
import { bearerKeys } from './plugins/credentials/bearer-keys.ts'
import { bearerTokens } from './plugins/credentials/bearer-tokens.ts'
import { lateBodies } from './plugins/credentials/late-bodies.ts'
import { tokenVerification } from './plugins/credentials/token-verification.ts'
import { credentials } from './plugins/credentials.ts'
import { crossOrigin } from './plugins/cross-origin.ts'
import { deadline } from './plugins/deadline.ts'
import { declarations } from './plugins/declarations.ts'
import { draining } from './plugins/draining.ts'
import { turns } from './plugins/limits/turns.ts'
import { userLimit, userShare } from './plugins/limits/user-limit.ts'
import { addressLimit, preflightLimit } from './plugins/limits.ts'
import { peerAndHost } from './plugins/peer-and-host.ts'
import { problemHandling } from './plugins/problem-handling.ts'
import { repeatedRequests } from './plugins/repeated-requests.ts'
import { responseHeaders } from './plugins/response-headers.ts'
import { spec } from './plugins/spec/spec.ts'
import { bodies, validation } from './plugins/validation.ts'
import { registerRoutes } from './routes.ts'
import { VERSION } from './settings/version.ts'
import type { ProblemCode } from './wire/problems.ts'

/** Where a check sits in Fastify's lifecycle. Hooks of one stage run in the order of their registration. */
type Stage =
  | 'onRequest'
  | 'onSend'
  | 'parsing'
  | 'preValidation'
  | 'validation'
  | 'preHandler'
  | 'handler'
  | 'error handler'

export interface Check {
  name: string
  stage: Stage
  plugin: FastifyPluginCallback<Parts>
  /** The problems that it throws. A check that reads the database or Redis can also throw `unavailable`. */
  problems: readonly ProblemCode[]
}

/**
 * The checks of every request, in their order. The response comes from the first check that fails. The turn
 * wraps the route's handler, which runs before the audit. The order is part of the contract, and test/house/checks.test.ts proves it.
 */
export const CHECKS: readonly Check[] = [
  check('response headers', 'onRequest', responseHeaders),
  check('peer and Host', 'onRequest', peerAndHost, 'invalid-request', 'expectation-failed'),
  check('preflight limit', 'onRequest', preflightLimit, 'rate-limited'),
  check('preflight', 'onRequest', crossOrigin),
  check('deadline', 'onRequest', deadline, 'unavailable'),
  check('draining', 'onSend', draining),
  check('bearer key', 'onRequest', bearerKeys, 'invalid-credential', 'rate-limited'),
  check('address limit', 'onRequest', addressLimit, 'rate-limited'),
  check('credential', 'onRequest', bearerTokens, 'invalid-credential'),
  check('user limit', 'onRequest', userLimit, 'rate-limited'),
  check('kind and scope', 'onRequest', kindAndScope, 'invalid-credential', 'insufficient-scope'),
  check('role', 'onRequest', role, 'limited-access'),
  check('freshness', 'onRequest', freshness, 'step-up-required'),
  check('body', 'parsing', bodies, 'body-too-large', 'unsupported-media-type', 'invalid-request'),
  check('late body', 'preValidation', lateBodies, 'invalid-credential', 'limited-access'),
  check('schema', 'validation', validation, 'invalid-request'),
  check('user share', 'preHandler', userShare, 'rate-limited'),
  check(
    'repeated request',
    'preHandler',
    repeatedRequests,
    'idempotency-key-in-use',
    'idempotency-key-reused',
    'too-many-attempts'
  ),
  check('turn', 'handler', turns, 'unavailable'),
  check('audit of a refusal', 'error handler', problemHandling, 'unavailable')
]

function check(
  name: string,
  stage: Stage,
  plugin: FastifyPluginCallback<Parts>,
  ...problems: ProblemCode[]
): Check {
  return { name, stage, plugin, problems }
}

/** A route keeps the error handler that is set when it is added, and @fastify/cors adds one. So error handlers go first. */
function inOrderOfRegistration(checks: readonly Check[]): Check[] {
  const isErrorHandler = ({ stage }: Check) => stage === 'error handler'
  const others = checks.filter((check) => !isErrorHandler(check))
  return [...checks.filter(isErrorHandler), ...others]
}

export interface AppOptions extends Omit<PartsOptions, 'stopping'> {
  logger?: FastifyBaseLogger
  stopping?: AbortSignal
}

/** Builds the whole service over an open, migrated database. It does not listen yet. */
export async function buildApp({
  logger,
  stopping = new AbortController().signal,
  ...given
}: AppOptions): Promise<FastifyInstance> {
  const { config } = given
  const app = createFastify({ logger, keepAliveSeconds: config.keepAliveSeconds })
  if (config.tracesUrl !== null) {
    const { tracing } = await import('./plugins/tracing/tracing.ts')
    await app.register(tracing, { url: config.tracesUrl, version: VERSION })
  }
  await app.register(clientAddresses, config)
  const parts = await createParts(app, { ...given, stopping })
  const { isDatabaseUnavailable } = parts
  await app.register(tokenVerification, parts)
  await app.register(credentials)
  for (const { plugin } of inOrderOfRegistration(CHECKS)) await app.register(plugin, parts)
  // After the checks, because the route that @fastify/cors adds declares nothing.
  await app.register(declarations)
  await registerMetrics(app, parts)
  await app.register(background, { jobs: backgroundJobs(parts), isDatabaseUnavailable })
  await app.register(spec, { version: VERSION })
  await registerRoutes(app, parts)
  await app.ready()
  return app
}

async function registerMetrics(app: FastifyInstance, parts: Parts): Promise<void> {
  const { config, outbox, auditLinks } = parts
  if (config.metricsPort === null) return
  const { metrics } = await import('./plugins/metrics/metrics.ts')
  await app.register(metrics, {
    ...parts,
    port: config.metricsPort,
    host: config.host,
    version: VERSION,
    mails: outbox,
    links: auditLinks
  })
}
