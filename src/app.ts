// The composition root: everything is made here, in reading order, and handed to what needs it.
import cors from '@fastify/cors'
import helmet from '@fastify/helmet'
import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox'
import Fastify, { type FastifyBaseLogger, type FastifyInstance } from 'fastify'
import { v7 as uuidv7 } from 'uuid'
import type { Config } from './config.ts'
import { createRecoveryCodeHasher } from './core/recovery-codes.ts'
import { createSealer } from './core/sealing.ts'
import { createAccounts } from './data/accounts.ts'
import { createApiKeys } from './data/api-keys.ts'
import { isDatabaseUnavailable } from './data/availability.ts'
import type { Database } from './data/database.ts'
import { createEnrollments } from './data/enrollments.ts'
import { createPolicies } from './data/policies.ts'
import { createRecoveryCodes } from './data/recovery-codes.ts'
import { openRedis } from './data/redis.ts'
import { createSigningKeys } from './data/signing-keys.ts'
import { createSubjects } from './data/subjects.ts'
import { createUsers } from './data/users.ts'
import { createVerdicts } from './data/verdicts.ts'
import { credentials } from './plugins/credentials.ts'
import { draining } from './plugins/draining.ts'
import health from './plugins/health.ts'
import { housekeeping } from './plugins/housekeeping.ts'
import { createLimits } from './plugins/limits.ts'
import { createPasswordHashing } from './plugins/password-hashing.ts'
import { problemHandling, refuseMalformed, sendProblem } from './plugins/problem-handling.ts'
import { createSignIns } from './plugins/sign-ins.ts'
import { openSigningKeys } from './plugins/signing-keys.ts'
import { spec } from './plugins/spec.ts'
import { createTokens, tokenVerification } from './plugins/tokens.ts'
import { createValidatorCompiler } from './plugins/validation.ts'
import { Problem } from './problems.ts'
import accountRoutes from './routes/accounts.ts'
import apiKeyRoutes from './routes/api-keys.ts'
import discoveryRoutes from './routes/discovery.ts'
import enrollRoutes from './routes/enroll.ts'
import introspectRoutes from './routes/introspect.ts'
import loginRoutes from './routes/login.ts'
import policyRoutes from './routes/policy.ts'
import recoveryCodeRoutes from './routes/recovery-codes.ts'
import userRoutes from './routes/users.ts'
import verifyRoutes from './routes/verify/verify.ts'
import { VERSION } from './version.ts'

const BODY_LIMIT_BYTES = 16 * 1024
/** Above Node's own 16 KiB, so that an absurd token is refused as a token and not as a header. */
const HEADERS_LIMIT_BYTES = 64 * 1024
/** Whoever sends a request this slowly is not sending a request (slowloris). */
const REQUEST_TIMEOUT_MS = 10_000

const EXPOSED_HEADERS = [
  'ETag',
  'Retry-After',
  'RateLimit-Limit',
  'RateLimit-Remaining',
  'RateLimit-Reset',
  'WWW-Authenticate',
  'x-request-id'
]

export interface AppOptions {
  config: Config
  database: Database
  /** The only clock of the service. */
  now: () => Date
  logger?: FastifyBaseLogger
}

/** Builds the whole service over an open, migrated database; it does not listen yet. */
export async function buildApp({
  config,
  database,
  now,
  logger
}: AppOptions): Promise<FastifyInstance> {
  const { issuer, masterKeys, operatorKey } = config
  const { prisma } = database

  const accounts = createAccounts(prisma)
  const apiKeys = createApiKeys(prisma)
  const policies = createPolicies(prisma)
  const users = createUsers(prisma)
  const subjects = createSubjects(prisma)
  const verdicts = createVerdicts(prisma)
  const enrollments = createEnrollments(prisma)
  const recoveryCodes = createRecoveryCodes(prisma)

  const secretSealer = createSealer(masterKeys, 'authenticator-secret')
  const recoveryCodeHasher = createRecoveryCodeHasher(masterKeys)
  const passwordHashing = await createPasswordHashing()
  const stored = createSigningKeys(prisma)
  const signingKeys = await openSigningKeys({ stored, masterKeys, now })
  const tokens = createTokens({ issuer, masterKeys, signingKeys, now })
  const signIns = createSignIns({ tokens, users, now })

  const app = Fastify({
    ...(logger && { loggerInstance: logger }),
    genReqId: () => uuidv7(),
    requestIdHeader: false,
    bodyLimit: BODY_LIMIT_BYTES,
    requestTimeout: REQUEST_TIMEOUT_MS,
    // What comes in while we stop is still answered (plugins/draining), not turned away without a problem.
    return503OnClosing: false,
    clientErrorHandler: refuseMalformed,
    // A missing Host is refused below: Node would do it without a problem document.
    http: { maxHeaderSize: HEADERS_LIMIT_BYTES, requireHostHeader: false },
    trustProxy: config.trustedProxies.length > 0 ? [...config.trustedProxies] : false,
    frameworkErrors: (error, request, reply) => {
      request.log.info({ code: error.code }, 'request refused')
      sendProblem(request, reply, new Problem('invalid-request', { extras: { errors: [] } }))
    }
  }).withTypeProvider<TypeBoxTypeProvider>()

  // Fastify reads plain text by default; nothing here is plain text.
  app.removeContentTypeParser('text/plain')
  app.setValidatorCompiler(createValidatorCompiler())
  app.addHook('onRequest', async (request, reply) => {
    reply.header('x-request-id', request.id)
    // Nearly every answer holds a credential or a person's data; those that may be kept say so themselves.
    reply.header('cache-control', 'no-store')
    // RFC 9112 §3.2.
    if (request.headers.host === undefined && request.raw.httpVersion === '1.1') {
      throw new Problem('invalid-request', { extras: { errors: [] } })
    }
  })
  await app.register(helmet, {
    contentSecurityPolicy: {
      useDefaults: false,
      directives: { defaultSrc: ["'none'"], frameAncestors: ["'none'"] }
    }
  })
  if (config.corsOrigins.length > 0) {
    await app.register(cors, {
      origin: [...config.corsOrigins],
      methods: ['GET', 'POST', 'PUT', 'PATCH', 'DELETE'],
      exposedHeaders: EXPOSED_HEADERS
    })
  }
  await app.register(draining)
  await app.register(problemHandling, { isDatabaseUnavailable })
  await app.register(tokenVerification, { issuer, masterKeys, signingKeys, now })
  const redis =
    config.redisUrl === null ? null : await openRedis(config.redisUrl, redisErrors(app.log))
  app.addHook('onClose', async () => redis?.disconnect())
  const limits = await createLimits(app, { perMinute: config.rateLimitPerMinute, redis })
  await app.register(credentials, { operatorKey, apiKeys, subjects, tokens, limits, now })
  await app.register(housekeeping, { verdicts, enrollments, now })
  await app.register(spec, { version: VERSION })

  await app.register(loginRoutes, { subjects, passwordHashing, limits, signIns })
  await app.register(verifyRoutes, {
    ...{ subjects, verdicts, recoveryCodes, recoveryCodeHasher, secretSealer, signIns, now },
    codeAttempts: config.codeAttempts
  })
  await app.register(enrollRoutes, { enrollments, secretSealer, recoveryCodeHasher, signIns, now })
  await app.register(userRoutes, { users, policies, passwordHashing, limits, now })
  await app.register(recoveryCodeRoutes, { recoveryCodes, recoveryCodeHasher })
  await app.register(policyRoutes, { policies, now })
  await app.register(accountRoutes, { accounts, now })
  await app.register(apiKeyRoutes, { accounts, apiKeys, now })
  await app.register(discoveryRoutes, { issuer, signingKeys })
  await app.register(introspectRoutes, { tokens, subjects })
  await app.register(health, {
    dependencies: {
      database: database.ping,
      ...(redis ? { redis: async () => void (await redis.ping()) } : {})
    }
  })

  await app.ready()
  return app
}

// One line for each new state of affairs; a Redis that is away reports every attempt to reconnect.
function redisErrors(log: FastifyBaseLogger): (error: Error) => void {
  let last = ''
  return (error) => {
    if (error.message !== last) log.error(error, 'Redis')
    last = error.message
  }
}
