// Puts the parts of this folder together, with the address rule that the configuration calls for.
import type { FastifyBaseLogger } from 'fastify'
import type { Config } from '../settings/config.ts'
import { createIdentityProviders, type IdentityProviders } from './identity-providers.ts'
import { createProviderDocuments } from './provider-documents.ts'
import { createAddressRule } from './reachable-addresses.ts'

interface ProviderAccessOptions {
  config: Pick<Config, 'isProduction' | 'ssoPrivateNetworks'>
  timeoutMs: number
  now: () => Date
  log: FastifyBaseLogger
}

/** Returns the identity providers. Plain HTTP and loopback addresses are allowed only outside production. */
export function openIdentityProviders({
  config,
  timeoutMs,
  now,
  log
}: ProviderAccessOptions): IdentityProviders {
  const isDevelopment = !config.isProduction
  const mayReach = createAddressRule({
    privateNetworks: config.ssoPrivateNetworks,
    allowsLoopback: isDevelopment
  })
  const readDocument = createProviderDocuments({ mayReach, allowsHttp: isDevelopment })
  return createIdentityProviders({ readDocument, timeoutMs, now, log })
}
