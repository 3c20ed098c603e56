// Every route, and what each may touch.
import type { FastifyInstance } from 'fastify'
import type { Parts } from './parts.ts'
import accountRoutes from './routes/accounts/accounts.ts'
import apiKeyRoutes from './routes/accounts/api-keys.ts'
import auditEventRoutes from './routes/accounts/audit-events.ts'
import policyRoutes from './routes/accounts/policy.ts'
import discoveryRoutes from './routes/operations/discovery.ts'
import healthRoutes from './routes/operations/health.ts'
import introspectRoutes from './routes/operations/introspect.ts'
import enrollRoutes from './routes/sign-in/enroll.ts'
import loginRoutes from './routes/sign-in/login.ts'
import loginSsoRoutes from './routes/sign-in/login-sso.ts'
import verifyRoutes from './routes/sign-in/verify.ts'
import authenticatorRoutes from './routes/users/authenticators.ts'
import deviceRoutes from './routes/users/devices.ts'
import { createNewPasswords } from './routes/users/new-passwords.ts'
import recoveryCodeRoutes from './routes/users/recovery-codes.ts'
import resetRoutes from './routes/users/reset.ts'
import rosterRoutes from './routes/users/roster.ts'
import signOutRoutes from './routes/users/sign-out.ts'
import ssoIdentityRoutes from './routes/users/sso-identities.ts'
import twoFactorRoutes from './routes/users/two-factor.ts'
import userPolicyRoutes from './routes/users/user-policy.ts'
import userRoutes from './routes/users/users.ts'

export async function registerRoutes(app: FastifyInstance, parts: Parts): Promise<void> {
  await registerSignIn(app, parts)
  await registerUsers(app, parts)
  await registerAccounts(app, parts)
  await registerOperations(app, parts)
}

async function registerSignIn(app: FastifyInstance, parts: Parts): Promise<void> {
  const { subjects, ssoIdentities, enrollments, accounts } = parts
  const { passwordHashing, secretSealer, recoveryCodeHasher, identityProviders } = parts
  const { limits, requestTurns, signIns, judging, deviceTrust, audit, now } = parts
  await app.register(loginRoutes, {
    subjects,
    passwordHashing,
    limits,
    requestTurns,
    signIns,
    audit,
    now
  })
  await app.register(loginSsoRoutes, {
    accounts,
    subjects,
    ssoIdentities,
    identityProviders,
    requestTurns,
    signIns,
    audit,
    now
  })
  await app.register(verifyRoutes, { judging, signIns, deviceTrust })
  await app.register(enrollRoutes, {
    enrollments,
    secretSealer,
    recoveryCodeHasher,
    signIns,
    audit,
    now
  })
}

async function registerUsers(app: FastifyInstance, parts: Parts): Promise<void> {
  const { users, policies, authenticators, recoveryCodes, resets, trustedDevices } = parts
  const {
    requirements,
    signOuts,
    ssoLinks,
    twoFactor,
    passwordHashing,
    recoveryCodeHasher,
    limits,
    audit,
    now
  } = parts
  await app.register(rosterRoutes, { users, policies, now })
  await app.register(userRoutes, {
    users,
    policies,
    newPasswords: createNewPasswords({ ...parts, ...parts.config }),
    passwordHashing,
    limits,
    audit,
    now
  })
  await app.register(userPolicyRoutes, { users, policies, now })
  await app.register(resetRoutes, { resets, audit })
  await app.register(authenticatorRoutes, { authenticators, audit, now })
  await app.register(twoFactorRoutes, { twoFactor, requirements, policies, audit, now })
  await app.register(signOutRoutes, { signOuts, audit })
  await app.register(recoveryCodeRoutes, { recoveryCodes, recoveryCodeHasher, audit })
  await app.register(deviceRoutes, { trustedDevices, audit, now })
  await app.register(ssoIdentityRoutes, { ssoLinks, audit })
}

async function registerAccounts(app: FastifyInstance, parts: Parts): Promise<void> {
  const { accounts, policies, apiKeys, apiKeyMaker, auditEvents, audit, now } = parts
  await app.register(policyRoutes, { policies, audit, now })
  await app.register(accountRoutes, { accounts, policies, apiKeyMaker, audit, now })
  await app.register(apiKeyRoutes, { accounts, apiKeys, apiKeyMaker, audit, now })
  await app.register(auditEventRoutes, { auditEvents })
}

async function registerOperations(app: FastifyInstance, parts: Parts): Promise<void> {
  const { issuer, signingKeys, tokens, subjects, stopping, dependencies } = parts
  await app.register(discoveryRoutes, { issuer, signingKeys })
  await app.register(introspectRoutes, { tokens, subjects })
  await app.register(healthRoutes, { stopping, dependencies })
}
