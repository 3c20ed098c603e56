// The composition root: everything is made here, in reading order, and handed to what needs it.
import cors from '@fastify/cors'
import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox'
import Fastify, { type FastifyBaseLogger, type FastifyInstance } from 'fastify'
import { createAudit } from './audit/audit.ts'
import { createChaining } from './audit/chaining.ts'
import { createDeviceTokens } from './crypto/device-tokens.ts'
import { generateId } from './crypto/ids.ts'
import { createPasswordHashing } from './crypto/password-hashing.ts'
import { createRecoveryCodeHasher } from './crypto/recovery-code-hashing.ts'
import { createSealer } from './crypto/sealing.ts'
import { openServiceKeyOf } from './crypto/service-keys.ts'
import { openSigningKeys } from './crypto/signing-key-ring.ts'
import { createTokens, stepKeysOf } from './crypto/tokens.ts'
import { createAccounts } from './data/accounts/accounts.ts'
import { createApiKeys } from './data/accounts/api-keys.ts'
import { isDatabaseUnavailable } from './data/engine/availability.ts'
import type { Database } from './data/engine/database.ts'
import { openRedis } from './data/engine/redis.ts'
import { createServiceKeys } from './data/keys/service-keys.ts'
import { createSigningKeys } from './data/keys/signing-keys.ts'
import { createPolicies } from './data/policy/policies.ts'
import { createSsoIdentities } from './data/sign-in/sso-identities.ts'
import { createSubjects } from './data/sign-in/subjects.ts'
import { createTrustedDevices } from './data/sign-in/trusted-devices.ts'
import { createVerdicts } from './data/sign-in/verdicts.ts'
import { createAuditEvents } from './data/trail/audit-events.ts'
import { createAuditLinks } from './data/trail/links.ts'
import { createOutbox, type Outbox } from './data/trail/outbox.ts'
import { createAuthenticators } from './data/users/authenticators.ts'
import { createEnrollments } from './data/users/enrollments.ts'
import { createRecoveryCodes } from './data/users/recovery-codes.ts'
import { createResets } from './data/users/resets.ts'
import { createTwoFactor } from './data/users/two-factor.ts'
import { createUsers } from './data/users/users.ts'
import { createMailDelivery, type MailDelivery } from './delivery/mail/delivery.ts'
import { openTransport } from './delivery/mail/transports.ts'
import { backgroundJobs } from './jobs.ts'
import { background, pause } from './plugins/background.ts'
import { credentials } from './plugins/credentials.ts'
import { deadline } from './plugins/deadline.ts'
import { draining } from './plugins/draining.ts'
import { lateBodies } from './plugins/late-bodies.ts'
import { createLimits } from './plugins/limits.ts'
import { problemHandling, refuseMalformed, sendProblem } from './plugins/problem-handling.ts'
import { spec } from './plugins/spec.ts'
import { tokenVerification } from './plugins/token-verification.ts'
import { createValidatorCompiler } from './plugins/validation.ts'
import accountRoutes from './routes/accounts/accounts.ts'
import apiKeyRoutes from './routes/accounts/api-keys.ts'
import auditEventRoutes from './routes/accounts/audit-events.ts'
import policyRoutes from './routes/accounts/policy.ts'
import discoveryRoutes from './routes/operations/discovery.ts'
import health from './routes/operations/health.ts'
import introspectRoutes from './routes/operations/introspect.ts'
import enrollRoutes from './routes/sign-in/enroll.ts'
import loginRoutes from './routes/sign-in/login.ts'
import loginSsoRoutes from './routes/sign-in/login-sso.ts'
import verifyRoutes from './routes/sign-in/verify.ts'
import authenticatorRoutes from './routes/users/authenticators.ts'
import deviceRoutes from './routes/users/devices.ts'
import recoveryCodeRoutes from './routes/users/recovery-codes.ts'
import resetRoutes from './routes/users/reset.ts'
import rosterRoutes from './routes/users/roster.ts'
import twoFactorRoutes from './routes/users/two-factor.ts'
import userPolicyRoutes from './routes/users/user-policy.ts'
import userRoutes from './routes/users/users.ts'
import type { Config } from './settings/config.ts'
import { VERSION } from './settings/version.ts'
import { createDeviceTrust } from './sign-in/device-trust.ts'
import { createJudging } from './sign-in/judging.ts'
import { createSignIns } from './sign-in/sign-ins.ts'
import { createIdentityProviders, type IdentityProviders } from './sso/identity-providers.ts'
import { createProviderDocuments } from './sso/provider-documents.ts'
import { createAddressRule } from './sso/reachable-addresses.ts'
import { Problem } from './wire/problem.ts'

const BODY_LIMIT_BYTES = 16 * 1024
/** Above Node's own 16 KiB, so that an absurd token is refused as a token and not as a header. */
const HEADERS_LIMIT_BYTES = 64 * 1024
/** Whoever sends a request this slowly is not sending a request (slowloris). */
const REQUEST_TIMEOUT_MS = 10_000
/**
 * The longest that anyone waits for an answer: for a connection to the database and then for a server that keeps silent
 * (data/postgresql.ts). The answer is 503; whether the act was done is not known then.
 */
const ANSWER_WITHIN_MS = 3500

/**
 * OWASP REST Security Cheat Sheet. Nearly every answer holds a credential or a person's data; those that may be kept, and
 * the pages under /docs, say so themselves.
 */
const SECURITY_HEADERS = {
  'cache-control': 'no-store',
  'content-security-policy': "default-src 'none';frame-ancestors 'none'",
  'cross-origin-resource-policy': 'same-origin',
  'referrer-policy': 'no-referrer',
  'strict-transport-security': 'max-age=31536000; includeSubDomains',
  'x-content-type-options': 'nosniff',
  'x-frame-options': 'DENY'
}

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
  /** Aborted when the service is about to be closed: from then on it is not ready, and still answers. */
  stopping?: AbortSignal
}

/** Builds the whole service over an open, migrated database; it does not listen yet. */
export async function buildApp({
  config,
  database,
  now,
  logger,
  stopping = new AbortController().signal
}: AppOptions): Promise<FastifyInstance> {
  const { issuer, masterKeys, operatorKey, mandateFrom } = config
  const { prisma, query } = database

  const accounts = createAccounts(database)
  const apiKeys = createApiKeys(prisma)
  const policies = createPolicies(prisma, mandateFrom)
  const users = createUsers(database)
  const subjects = createSubjects(query, mandateFrom)
  const ssoIdentities = createSsoIdentities(prisma)
  const verdicts = createVerdicts(database)
  const enrollments = createEnrollments(prisma)
  const authenticators = createAuthenticators(prisma, mandateFrom)
  const twoFactor = createTwoFactor(prisma, mandateFrom)
  const recoveryCodes = createRecoveryCodes(prisma)
  const trustedDevices = createTrustedDevices(prisma)
  const resets = createResets(prisma, mandateFrom)
  const auditEvents = createAuditEvents(database)
  const auditLinks = createAuditLinks(prisma)
  const outbox = createOutbox(prisma)

  const secretSealer = createSealer(masterKeys, 'authenticator-secret')
  const ownKeys = { stored: createServiceKeys(prisma), masterKeys, now }
  const recoveryCodesKey = await openServiceKeyOf(ownKeys, 'recovery-codes')
  const recoveryCodeHasher = createRecoveryCodeHasher(recoveryCodesKey)
  const passwordHashing = await createPasswordHashing()
  const stored = createSigningKeys(prisma)
  const signingKeys = await openSigningKeys({ stored, masterKeys, now })
  const tokens = createTokens({ issuer, masterKeys, signingKeys, now })
  const auditKey = await openServiceKeyOf(ownKeys, 'audit')
  const audit = createAudit({ key: auditKey, auditEvents, now })
  const deviceTokens = createDeviceTokens(await openServiceKeyOf(ownKeys, 'device-tokens'))
  const deviceTrust = createDeviceTrust({ deviceTokens, trustedDevices, audit, now })
  const signIns = createSignIns({ tokens, users, deviceTrust, audit, auditEvents, now })

  const app = Fastify({
    ...(logger && { loggerInstance: logger }),
    genReqId: () => generateId(),
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

  if (config.tracesUrl !== null) {
    const { tracing } = await import('./plugins/tracing/tracing.ts')
    await app.register(tracing, { url: config.tracesUrl, version: VERSION })
  }
  // Fastify reads plain text by default; nothing here is plain text.
  app.removeContentTypeParser('text/plain')
  app.setValidatorCompiler(createValidatorCompiler())
  app.addHook('onRequest', (request, reply, done) => {
    reply.header('x-request-id', request.id).headers(SECURITY_HEADERS)
    // Node knows the address of a peer only while they are there, and from here on if asked once. Whoever hung up before
    // that is not heard: they could neither be counted nor be put on record.
    const isThere = request.ip !== undefined
    // RFC 9112 §3.2.
    const hasHost = request.headers.host !== undefined || request.raw.httpVersion !== '1.1'
    if (isThere && hasHost) return done()
    done(new Problem('invalid-request', { extras: { errors: [] } }))
  })
  if (config.corsOrigins.length > 0) {
    await app.register(cors, {
      origin: [...config.corsOrigins],
      methods: ['GET', 'POST', 'PUT', 'PATCH', 'DELETE'],
      exposedHeaders: EXPOSED_HEADERS
    })
  }
  await app.register(deadline, { withinMs: ANSWER_WITHIN_MS })
  await app.register(draining, { stopping })
  await app.register(problemHandling, {
    isDatabaseUnavailable,
    recordRefusal: audit.recordRefusal
  })
  await app.register(tokenVerification, { issuer, stepKeys: stepKeysOf(masterKeys), signingKeys })
  const redis =
    config.redisUrl === null ? null : await openRedis(config.redisUrl, redisErrors(app.log))
  app.addHook('onClose', async () => redis?.disconnect())
  const limits = await createLimits(app, { perMinute: config.rateLimitPerMinute, redis })
  const dependencies = {
    database: database.ping,
    ...(redis ? { redis: async () => void (await redis.ping()) } : {})
  }
  if (config.metricsPort !== null) {
    const { metrics } = await import('./plugins/metrics/metrics.ts')
    await app.register(metrics, {
      ...{ port: config.metricsPort, host: config.host, version: VERSION },
      ...{ limits, passwordHashing, poolUse: database.poolUse, dependencies, now },
      ...{ mails: outbox, links: auditLinks }
    })
  }
  await app.register(credentials, { operatorKey, apiKeys, subjects, tokens, limits, now })
  await app.register(lateBodies, { apiKeys, subjects, now })
  const mail = await openMail(app, { config, outbox, now })
  const chaining = createChaining({ links: auditLinks, key: auditKey, log: app.log, pause, now })
  await app.register(background, {
    isDatabaseUnavailable,
    jobs: backgroundJobs({
      ...{ verdicts, enrollments, trustedDevices, ssoIdentities, outbox, mail, chaining, now },
      signingKeys
    })
  })
  await app.register(spec, { version: VERSION })

  await app.register(loginRoutes, {
    ...{ subjects, passwordHashing, limits, signIns, audit, auditEvents }
  })
  await app.register(loginSsoRoutes, {
    ...{ accounts, subjects, ssoIdentities, signIns, audit, auditEvents, now },
    identityProviders: openIdentityProviders(app.log, { config, now })
  })
  await app.register(verifyRoutes, {
    judging: createJudging({
      subjects,
      verdicts,
      recoveryCodes,
      recoveryCodeHasher,
      secretSealer,
      audit,
      codeAttempts: config.codeAttempts,
      now
    }),
    signIns,
    deviceTrust
  })
  await app.register(enrollRoutes, {
    ...{ enrollments, secretSealer, recoveryCodeHasher, signIns, audit, now }
  })
  await app.register(rosterRoutes, { users, policies, now })
  await app.register(userRoutes, { users, policies, passwordHashing, limits, audit, now })
  await app.register(userPolicyRoutes, { users, policies, now })
  await app.register(resetRoutes, { resets, audit, auditEvents })
  await app.register(authenticatorRoutes, { authenticators, audit, now })
  await app.register(twoFactorRoutes, { twoFactor, audit })
  await app.register(recoveryCodeRoutes, { recoveryCodes, recoveryCodeHasher, audit })
  await app.register(deviceRoutes, { trustedDevices, audit, now })
  await app.register(policyRoutes, { policies, audit, now })
  await app.register(accountRoutes, { accounts, policies, audit, now })
  await app.register(apiKeyRoutes, { accounts, apiKeys, audit, now })
  await app.register(auditEventRoutes, { auditEvents })
  await app.register(discoveryRoutes, { issuer, signingKeys })
  await app.register(introspectRoutes, { tokens, subjects })
  await app.register(health, { stopping, dependencies })

  await app.ready()
  return app
}

function openIdentityProviders(
  log: FastifyBaseLogger,
  { config, now }: { config: Config; now: () => Date }
): IdentityProviders {
  const isDevelopment = !config.isProduction
  const mayReach = createAddressRule({
    privateNetworks: config.ssoPrivateNetworks,
    allowsLoopback: isDevelopment
  })
  const readDocument = createProviderDocuments({ mayReach, allowsHttp: isDevelopment })
  return createIdentityProviders({ readDocument, now, log })
}

/** Null: there is nowhere to send mails to. */
async function openMail(
  app: FastifyInstance,
  { config, outbox, now }: { config: Config; outbox: Outbox; now: () => Date }
): Promise<MailDelivery | null> {
  const { from, domain: messageIdDomain } = config.mail
  const transport = await openTransport(config.mail, app.log)
  if (!transport) return null
  const options = { outbox, transport, from, messageIdDomain, now, log: app.log }
  const mail = createMailDelivery(options)
  app.addHook('preClose', async () => mail.stop())
  app.addHook('onClose', async () => transport.close())
  return mail
}

// One line for each new state of affairs; a Redis that is away reports every attempt to reconnect.
function redisErrors(log: FastifyBaseLogger): (error: Error) => void {
  let last = ''
  return (error) => {
    if (error.message !== last) log.error(error, 'Redis')
    last = error.message
  }
}
