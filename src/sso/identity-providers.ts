// Verifies signatures of the accounts' identity providers. The address of a provider's keys comes from the issuer in the
// account's policy, never from a token.
import type { FastifyBaseLogger } from 'fastify'
import { compactVerify, createLocalJWKSet, errors, type JWK } from 'jose'
import { ID_TOKEN_ALGORITHMS } from '../core/id-tokens.ts'
import { type Problem, unavailable } from '../wire/problem.ts'
import type { ReadDocument } from './provider-documents.ts'
import { asObject, readKeySet, sizeOf } from './signing-keys.ts'

/** The maximum time for which a key is trusted after the provider has removed it. */
const KEYS_KEPT_MS = 10 * 60_000
/** The same while the provider is unavailable. */
const KEYS_KEPT_WHILE_DOWN_MS = 24 * 60 * 60_000
/** The minimum time between two loads from a provider, even if many tokens name keys that it does not have. */
const LOADED_AGAIN_AFTER_SECONDS = 10
/** The time limit for both documents together: a user waits for them to sign in. */
export const PROVIDER_TIMEOUT_MS = 2000
/**
 * The maximum size of all keys in memory. The keys of most providers have 3 KiB, so this is enough for ten thousand. An
 * account has one provider at a time, with at most one document of keys, so no account can fill this space alone.
 */
export const KEYS_BYTES_MAX = 32 * 1024 * 1024

/** The identity provider in the policy of an account. */
interface ProviderOfAccount {
  accountId: string
  issuer: string
}

export interface IdentityProviders {
  /**
   * Returns whether a key of the issuer signed the token. Loads the issuer's keys if they are missing, old or lack the
   * token's key. Throws `unavailable` for an unknown key while the provider is down.
   */
  verifySignature(provider: ProviderOfAccount, token: string): Promise<boolean>
}

interface IdentityProvidersOptions {
  readDocument: ReadDocument
  timeoutMs: number
  now: () => Date
  log: FastifyBaseLogger
}

interface Provider {
  issuer: string
  /** The accounts whose last sign-in was through this provider. Without any, the provider is dropped. */
  accounts: Set<string>
  keys: ReturnType<typeof createLocalJWKSet> | null
  keysBytes: number
  loadedAt: number
  triedAt: number
  isDown: boolean
  /** The load in progress, for which all sign-ins through this provider wait; null if there is none. */
  loading: Promise<void> | null
}

/** Creates the identity providers, without any keys. The keys of a provider are loaded when a token needs them. */
export function createIdentityProviders({
  readDocument,
  timeoutMs,
  now,
  log
}: IdentityProvidersOptions): IdentityProviders {
  /** In the order of their last use. */
  const providers = new Map<string, Provider>()
  const issuers = new Map<string, string>()

  /** Returns the account's provider. Drops the one that the account had before, unless another account uses it. */
  function providerOf({ accountId, issuer }: ProviderOfAccount): Provider {
    const former = issuers.get(accountId)
    if (former !== undefined && former !== issuer) leave(accountId, former)
    dropUnused(issuer)
    issuers.set(accountId, issuer)
    const provider = providers.get(issuer) ?? {
      issuer,
      accounts: new Set(),
      keys: null,
      keysBytes: 0,
      loadedAt: 0,
      triedAt: 0,
      isDown: false,
      loading: null
    }
    provider.accounts.add(accountId)
    // A map keeps the order of insertion, so the provider becomes the newest.
    providers.delete(issuer)
    providers.set(issuer, provider)
    return provider
  }

  function leave(accountId: string, issuer: string): void {
    const provider = providers.get(issuer)
    if (!provider) return
    provider.accounts.delete(accountId)
    if (provider.accounts.size === 0) forgetKeys(provider)
  }

  /**
   * Drops providers that no account uses. One that was tried less than ten seconds ago stays, without keys: an account that
   * changes its issuer again and again would otherwise load from it each time.
   */
  function dropUnused(wanted: string): void {
    for (const [issuer, provider] of providers) {
      const isUsed = issuer === wanted || provider.accounts.size > 0 || isTriedLately(provider)
      if (!isUsed) providers.delete(issuer)
    }
  }

  function isTriedLately({ triedAt }: Provider): boolean {
    return since(triedAt) < LOADED_AGAIN_AFTER_SECONDS * 1000
  }

  /**
   * Makes room for new keys of a provider, whose own keys they replace. Drops only keys that the next sign-in would load
   * again in any case, starting with the provider that was used longest ago. Throws if that is not enough.
   */
  function makeRoom(bytes: number, replaced: Provider): void {
    let kept = -replaced.keysBytes
    for (const { keysBytes } of providers.values()) kept += keysBytes
    for (const provider of providers.values()) {
      if (kept + bytes <= KEYS_BYTES_MAX) return
      if (provider === replaced || since(provider.loadedAt) <= keptMsOf(provider)) continue
      kept -= provider.keysBytes
      forgetKeys(provider)
    }
    if (kept + bytes > KEYS_BYTES_MAX) throw new Error('there is no room for more keys')
  }

  /** Loads the provider's keys, unless the last try is less than ten seconds old. */
  async function reload(provider: Provider): Promise<void> {
    if (!provider.loading && isTriedLately(provider)) return
    provider.loading ??= load(provider).finally(() => {
      provider.loading = null
    })
    await provider.loading
  }

  async function load(provider: Provider): Promise<void> {
    provider.triedAt = now().getTime()
    try {
      const keys = await readKeys(provider.issuer)
      const keysBytes = sizeOf(keys)
      makeRoom(keysBytes, provider)
      provider.keys = createLocalJWKSet({ keys })
      provider.keysBytes = keysBytes
      provider.loadedAt = now().getTime()
      provider.isDown = false
    } catch (error) {
      provider.isDown = true
      log.warn({ err: error, issuer: provider.issuer }, 'identity provider unavailable')
    }
  }

  async function readKeys(issuer: string): Promise<JWK[]> {
    const signal = AbortSignal.timeout(timeoutMs)
    const discovered = await readDocument(discoveryAddress(issuer), signal)
    const { issuer: named, jwks_uri: keysAt } = asObject(discovered)
    // OpenID Connect Discovery §4.3. Otherwise one provider could sign for another.
    if (named !== issuer) throw new Error('the discovery document belongs to another issuer')
    if (typeof keysAt !== 'string') throw new Error('the discovery document has no jwks_uri')
    const { keys, ignored } = readKeySet(await readDocument(keysAt, signal))
    if (ignored > 0) log.warn({ issuer, ignored, used: keys.length }, 'provider keys ignored')
    return keys
  }

  /** Returns the milliseconds since `at`, or Infinity if `at` is in the future (the clock was set back). */
  function since(at: number): number {
    const passed = now().getTime() - at
    return passed < 0 ? Number.POSITIVE_INFINITY : passed
  }

  /** Verifies with the keys at hand, unless they are too old. */
  async function verifyWithKept(provider: Provider, token: string): Promise<Verification> {
    if (!provider.keys || since(provider.loadedAt) > keptMsOf(provider)) return 'unknown-key'
    return verifyWith(provider.keys, token)
  }

  return {
    async verifySignature(providerOfAccount, token) {
      const provider = providerOf(providerOfAccount)
      if (since(provider.loadedAt) > KEYS_KEPT_MS) await reload(provider)
      const first = await verifyWithKept(provider, token)
      if (first !== 'unknown-key') return first === 'signed'
      // The key may be new. It may also be invented, so `reload` does not load for every such token.
      await reload(provider)
      const second = await verifyWithKept(provider, token)
      const canJudge = provider.keys !== null && !provider.isDown
      if (second === 'unknown-key' && !canJudge) throw unavailableProvider()
      return second === 'signed'
    }
  }
}

function keptMsOf({ isDown }: Provider): number {
  return isDown ? KEYS_KEPT_WHILE_DOWN_MS : KEYS_KEPT_MS
}

function forgetKeys(provider: Provider): void {
  provider.keys = null
  provider.keysBytes = 0
  provider.loadedAt = 0
}

type Keys = NonNullable<Provider['keys']>
type Verification = 'signed' | 'not-signed' | 'unknown-key'

async function verifyWith(keys: Keys, token: string): Promise<Verification> {
  try {
    await compactVerify(token, keys, { algorithms: [...ID_TOKEN_ALGORITHMS] })
    return 'signed'
  } catch (error) {
    // The other errors mean that the token or the provider's key is malformed. In both cases nothing is signed.
    return error instanceof errors.JWKSNoMatchingKey ? 'unknown-key' : 'not-signed'
  }
}

/** Returns the address of the discovery document: after the issuer's path, without a slash at its end (Discovery §4). */
function discoveryAddress(issuer: string): string {
  return `${issuer.replace(/\/$/, '')}/.well-known/openid-configuration`
}

function unavailableProvider(): Problem {
  return unavailable({
    detail: 'The account’s identity provider is unavailable.',
    retryAfterSeconds: LOADED_AGAIN_AFTER_SECONDS
  })
}
