// Creates the parts of the service and gives each one the parts that it needs.
import type { FastifyBaseLogger, FastifyInstance } from 'fastify'
import type { Redis } from 'ioredis'
import { createAudit } from './audit/audit.ts'
import { createChaining } from './audit/chaining.ts'
import { createRefusals } from './audit/refusals.ts'
import { createRetention } from './audit/retention.ts'
import { STALLED_AFTER_MS } from './core/fairness/shares.ts'
import { createApiKeyMaker } from './crypto/api-keys.ts'
import { createDeviceTokens } from './crypto/device-tokens.ts'
import { createPasswordHashing } from './crypto/password-hashing.ts'
import { createRecoveryCodeHasher } from './crypto/recovery-code-hashing.ts'
import { createSealer } from './crypto/sealing.ts'
import { openServiceKeyOf } from './crypto/service-keys.ts'
import { openSigningKeyRing } from './crypto/signing-key-ring.ts'
import { createTokens, stepKeysOf } from './crypto/tokens.ts'
import { createAccounts } from './data/accounts/accounts.ts'
import { createApiKeys } from './data/accounts/api-keys.ts'
import { isDatabaseUnavailable } from './data/engine/availability.ts'
import type { Database } from './data/engine/database.ts'
import { openRedis, REDIS_COMMAND_TIMEOUT_MS, writeCheckOf } from './data/engine/redis.ts'
import { createServiceKeys } from './data/keys/service-keys.ts'
import { createSigningKeys } from './data/keys/signing-keys.ts'
import { createDemandsReader } from './data/policy/demands.ts'
import { createPolicies } from './data/policy/policies.ts'
import { createSsoIdentities } from './data/sign-in/sso-identities.ts'
import { createSubjects } from './data/sign-in/subjects.ts'
import { createTrustedDevices } from './data/sign-in/trusted-devices.ts'
import { createVerdicts } from './data/sign-in/verdicts.ts'
import { createActRecords } from './data/trail/act-records.ts'
import { actingKeyRefusal } from './data/trail/acting-keys.ts'
import { createAuditEvents } from './data/trail/audit-events.ts'
import { createAuditLinks } from './data/trail/links.ts'
import { createMailCounts } from './data/trail/mail-counts.ts'
import { createOutbox } from './data/trail/outbox.ts'
import { createAuditRetention } from './data/trail/retention.ts'
import { createStoredResponses } from './data/trail/stored-responses.ts'
import { createAuthenticators } from './data/users/authenticators.ts'
import { createEnrollments } from './data/users/enrollments.ts'
import { createRecoveryCodes } from './data/users/recovery-codes.ts'
import { createRequirements } from './data/users/requirements.ts'
import { createResets } from './data/users/resets.ts'
import { createSignOuts } from './data/users/sign-outs.ts'
import { createSsoLinks } from './data/users/sso-links.ts'
import { createTwoFactor } from './data/users/two-factor.ts'
import { createUsers } from './data/users/users.ts'
import { openOutgoingMail } from './delivery/mail/outgoing-mail.ts'
import { pause } from './plugins/background.ts'
import { LATE_BODY_MS } from './plugins/credentials/late-bodies.ts'
import { ANSWER_WITHIN_MS } from './plugins/deadline.ts'
import { createTurns } from './plugins/limits/turns.ts'
import { createLimits } from './plugins/limits.ts'
import type { Config } from './settings/config.ts'
import { createDeviceTrust } from './sign-in/device-trust.ts'
import { createJudging } from './sign-in/judging.ts'
import { createSignIns } from './sign-in/sign-ins.ts'
import { PROVIDER_TIMEOUT_MS } from './sso/identity-providers.ts'
import { openIdentityProviders } from './sso/provider-access.ts'

export interface PartsOptions {
  config: Config
  database: Database
  /** The only clock of the service. */
  now: () => Date
  /** Aborted when the service is about to close. From then on it is not ready, but still serves requests. */
  stopping: AbortSignal
  /** For tests: a test that is not about a timeout sets it beyond the slowest machine. */
  timeouts?: Timeouts
}

/** How long the service waits before it acts, in milliseconds. Most waits end in `unavailable`. */
export interface Timeouts {
  /** For the whole response. */
  answerMs: number
  /** For one command on Redis. */
  redisMs: number
  /** For both documents of an identity provider. */
  providerMs: number
  /** For the end of any request of the same user, if other requests of this user wait. */
  stalledMs: number
  /** For a body, before its credential is judged again. */
  lateBodyMs: number
}

export const TIMEOUTS: Timeouts = {
  answerMs: ANSWER_WITHIN_MS,
  redisMs: REDIS_COMMAND_TIMEOUT_MS,
  providerMs: PROVIDER_TIMEOUT_MS,
  stalledMs: STALLED_AFTER_MS,
  lateBodyMs: LATE_BODY_MS
}

export type Parts = Awaited<ReturnType<typeof createParts>>

/** Creates every part over an open, migrated database. Hooks of the app close the parts that hold connections. */
export async function createParts(
  app: FastifyInstance,
  { config, database, now, stopping, timeouts = TIMEOUTS }: PartsOptions
) {
  const { log } = app
  const stores = createStores(database, config)
  const keys = await openKeys(stores, config, now)
  const auditing = createAuditing(app, { stores, key: keys.auditKey, config, now })
  const { audit } = auditing
  const redis = await connectRedis(app, config, timeouts)
  const limits = await createLimits(app, { ...config.rateLimits, redis })
  const mail = await openOutgoingMail({
    settings: config.mail,
    outbox: stores.outbox,
    mailCounts: stores.mailCounts,
    limits: config.mailLimits,
    masterKeys: config.masterKeys,
    support: config.support,
    now,
    log
  })
  app.addHook('preClose', async () => mail?.stop())
  app.addHook('onClose', async () => mail?.close())
  return {
    config,
    corsOrigins: config.corsOrigins,
    issuer: config.issuer,
    operatorKey: config.operatorKey,
    now,
    stopping,
    sessionMaxSeconds: config.sessionMaxSeconds,
    answerWithinMs: timeouts.answerMs,
    lateBodyMs: timeouts.lateBodyMs,
    isDatabaseUnavailable,
    actingKeyRefusal,
    ...stores,
    ...keys,
    ...auditing,
    limits,
    requestTurns: createTurns({
      poolMax: database.poolUse()?.max ?? null,
      stalledAfterMs: timeouts.stalledMs
    }),
    mail,
    ...createSequences({ stores, keys, audit, config, now }),
    passwordHashing: await createPasswordHashing(),
    identityProviders: openIdentityProviders({
      config,
      timeoutMs: timeouts.providerMs,
      now,
      log
    }),
    poolUse: database.poolUse,
    dependencies: {
      database: database.ping,
      ...(redis ? { redis: writeCheckOf(redis) } : {})
    }
  }
}

/** Creates the stores: one for each subject in the database. */
function createStores(database: Database, { mandate, support }: Config) {
  const { prisma, query } = database
  const demands = createDemandsReader({ mandate, support }, database.clock)
  return {
    accounts: createAccounts(database),
    actRecords: createActRecords(prisma),
    apiKeys: createApiKeys(prisma),
    auditEvents: createAuditEvents(database),
    auditLinks: createAuditLinks(prisma),
    auditRetention: createAuditRetention(prisma),
    authenticators: createAuthenticators(prisma, demands),
    enrollments: createEnrollments(prisma),
    mailCounts: createMailCounts(prisma),
    outbox: createOutbox(prisma),
    policies: createPolicies(prisma, demands),
    recoveryCodes: createRecoveryCodes(prisma),
    requirements: createRequirements(prisma),
    resets: createResets(prisma, demands),
    serviceKeys: createServiceKeys(prisma),
    signOuts: createSignOuts(prisma),
    ssoIdentities: createSsoIdentities(prisma),
    ssoLinks: createSsoLinks(prisma),
    storedResponses: createStoredResponses(prisma),
    storedSigningKeys: createSigningKeys(prisma),
    subjects: createSubjects(query, demands),
    trustedDevices: createTrustedDevices(prisma),
    twoFactor: createTwoFactor(prisma, demands),
    users: createUsers(database),
    verdicts: createVerdicts(database)
  }
}

type Stores = ReturnType<typeof createStores>

/** Opens the parts that hold keys. The first start creates the service's own keys. */
async function openKeys(
  { serviceKeys, storedSigningKeys }: Stores,
  { issuer, masterKeys }: Config,
  now: () => Date
) {
  const serviceKey = { stored: serviceKeys, masterKeys, now }
  const recoveryCodeHasher = createRecoveryCodeHasher(
    await openServiceKeyOf(serviceKey, 'recovery-codes')
  )
  const signingKeys = await openSigningKeyRing({ stored: storedSigningKeys, masterKeys, now })
  return {
    apiKeyMaker: createApiKeyMaker(await openServiceKeyOf(serviceKey, 'api-keys')),
    auditKey: await openServiceKeyOf(serviceKey, 'audit'),
    deviceTokens: createDeviceTokens(await openServiceKeyOf(serviceKey, 'device-tokens')),
    recoveryCodeHasher,
    responseSealer: createSealer(masterKeys, 'stored-response'),
    secretSealer: createSealer(masterKeys, 'authenticator-secret'),
    signingKeys,
    stepKeys: stepKeysOf(masterKeys),
    tokens: createTokens({ issuer, masterKeys, signingKeys, now })
  }
}

interface AuditingOptions {
  stores: Stores
  key: Uint8Array
  config: Config
  now: () => Date
}

/** Creates the parts that write, chain and remove audit events. */
function createAuditing(app: FastifyInstance, { stores, key, config, now }: AuditingOptions) {
  const { log } = app
  const { auditEvents, auditLinks, auditRetention } = stores
  const refusals = createRefusals({ key, auditEvents, now })
  // After the last request. A replica that stops must not take the number of the refusals with it.
  app.addHook('onClose', () =>
    refusals.writeFolded().catch((err) => log.error({ err }, 'folded refusals not written'))
  )
  const months = config.auditRetentionMonths
  return {
    refusals,
    audit: createAudit({ key, auditEvents, refusals, now }),
    chaining: createChaining({ links: auditLinks, key, log, pause, now }),
    retention: createRetention({ stored: auditRetention, key, months, log, now })
  }
}

interface SequencesOptions {
  stores: Stores
  keys: Awaited<ReturnType<typeof openKeys>>
  audit: ReturnType<typeof createAudit>
  config: Config
  now: () => Date
}

/** Creates the sequences that several routes share. */
function createSequences({ stores, keys, audit, config, now }: SequencesOptions) {
  const { recoveryCodes, subjects, trustedDevices, users, verdicts } = stores
  const { deviceTokens, recoveryCodeHasher, secretSealer, tokens } = keys
  const { codeAttempts, sessionMaxSeconds } = config
  const deviceTrust = createDeviceTrust({ deviceTokens, trustedDevices, audit, now })
  return {
    deviceTrust,
    signIns: createSignIns({ tokens, users, deviceTrust, audit, now }),
    judging: createJudging({
      subjects,
      verdicts,
      recoveryCodes,
      recoveryCodeHasher,
      secretSealer,
      audit,
      codeAttempts,
      sessionMaxSeconds,
      now
    })
  }
}

async function connectRedis(
  app: FastifyInstance,
  { redisUrl }: Config,
  { redisMs }: Timeouts
): Promise<Redis | null> {
  if (redisUrl === null) return null
  const redis = await openRedis(redisUrl, {
    commandTimeoutMs: redisMs,
    onError: redisErrors(app.log)
  })
  app.addHook('onClose', async () => redis.disconnect())
  return redis
}

// Redis reports every failed attempt to reconnect. Only a new error gets a line.
function redisErrors(log: FastifyBaseLogger): (error: Error) => void {
  let last = ''
  return (error) => {
    if (error.message !== last) log.error({ err: error }, 'Redis connection failed')
    last = error.message
  }
}
