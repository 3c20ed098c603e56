// The keys of the accounts' identity providers, and whether one of them has signed. Where they are is read from the
// issuer that an account's policy names, and from nothing that a token says.
import type { FastifyBaseLogger } from 'fastify'
import { compactVerify, createLocalJWKSet, errors, type JSONWebKeySet } from 'jose'
import { ID_TOKEN_ALGORITHMS } from '../core/id-tokens.ts'
import { type Problem, unavailable } from '../wire/problem.ts'
import type { ReadDocument } from './provider-documents.ts'

/** A key that the provider has taken back is believed for this long at most. */
const KEYS_KEPT_MS = 10 * 60_000
/** Or for this long, while the provider can't be asked. */
const KEYS_KEPT_WHILE_DOWN_MS = 24 * 60 * 60_000
/** Of one provider nothing is asked more often, however many tokens name keys that it doesn't have. */
const ASKED_AGAIN_AFTER_SECONDS = 10
/** For both documents together: whoever waits for the answer is about to sign in. */
const ANSWER_WITHIN_MS = 2000
/** Only issuers of policies get here, and the one that was not needed for longest goes first. */
const PROVIDERS_MAX = 1000

export interface IdentityProviders {
  /** Whether the issuer's key has signed the token. Throws `unavailable` while that can't be told. */
  hasSigned(issuer: string, token: string): Promise<boolean>
}

export interface IdentityProvidersOptions {
  readDocument: ReadDocument
  now: () => Date
  log: FastifyBaseLogger
}

interface Provider {
  issuer: string
  keys: ReturnType<typeof createLocalJWKSet> | null
  loadedAt: number
  askedAt: number
  isDown: boolean
  /** While it is being asked: everybody waits for the one answer. */
  asking: Promise<void> | null
}

export function createIdentityProviders({
  readDocument,
  now,
  log
}: IdentityProvidersOptions): IdentityProviders {
  const providers = new Map<string, Provider>()

  function providerOf(issuer: string): Provider {
    const provider = providers.get(issuer) ?? {
      ...{ issuer, keys: null, loadedAt: 0, askedAt: 0, isDown: false, asking: null }
    }
    // A map keeps its order: what is put in again is the newest.
    providers.delete(issuer)
    providers.set(issuer, provider)
    const [oldest = issuer] = providers.keys()
    if (providers.size > PROVIDERS_MAX) providers.delete(oldest)
    return provider
  }

  /** Asks the provider for its keys, unless that was done a moment ago. */
  async function ask(provider: Provider): Promise<void> {
    const isTooSoon = since(provider.askedAt) < ASKED_AGAIN_AFTER_SECONDS * 1000
    if (!provider.asking && isTooSoon) return
    provider.asking ??= load(provider).finally(() => {
      provider.asking = null
    })
    await provider.asking
  }

  async function load(provider: Provider): Promise<void> {
    provider.askedAt = now().getTime()
    try {
      provider.keys = await readKeys(provider.issuer)
      provider.loadedAt = now().getTime()
      provider.isDown = false
    } catch (error) {
      provider.isDown = true
      log.warn({ err: error, issuer: provider.issuer }, 'an identity provider can’t be asked')
    }
  }

  async function readKeys(issuer: string): Promise<NonNullable<Provider['keys']>> {
    const signal = AbortSignal.timeout(ANSWER_WITHIN_MS)
    const discovered = await readDocument(discoveryAddress(issuer), signal)
    const { issuer: named, jwks_uri: keysAt } = { ...(discovered as Record<string, unknown>) }
    // OpenID Connect Discovery §4.3: else one provider could speak for another.
    if (named !== issuer) throw new Error('the discovery document is of another issuer')
    if (typeof keysAt !== 'string') throw new Error('the discovery document names no keys')
    return createLocalJWKSet((await readDocument(keysAt, signal)) as JSONWebKeySet)
  }

  /** Milliseconds; much for what is in the future, which is a clock that was set back. */
  function since(at: number): number {
    const passed = now().getTime() - at
    return passed < 0 ? Number.POSITIVE_INFINITY : passed
  }

  async function verdict(provider: Provider, token: string): Promise<Verdict> {
    const keptMs = provider.isDown ? KEYS_KEPT_WHILE_DOWN_MS : KEYS_KEPT_MS
    if (!provider.keys || since(provider.loadedAt) > keptMs) return 'unknown-key'
    return verify(token, provider.keys)
  }

  return {
    async hasSigned(issuer, token) {
      const provider = providerOf(issuer)
      if (since(provider.loadedAt) > KEYS_KEPT_MS) await ask(provider)
      const first = await verdict(provider, token)
      if (first !== 'unknown-key') return first === 'signed'
      // A key that is new since; or one that was never there, for which nobody is asked each time.
      await ask(provider)
      const second = await verdict(provider, token)
      if (second === 'unknown-key' && provider.isDown) throw providerUnavailable()
      return second === 'signed'
    }
  }
}

type Verdict = 'signed' | 'not-signed' | 'unknown-key'

async function verify(token: string, keys: NonNullable<Provider['keys']>): Promise<Verdict> {
  try {
    await compactVerify(token, keys, { algorithms: [...ID_TOKEN_ALGORITHMS] })
    return 'signed'
  } catch (error) {
    // Beside what is wrong with a token there is what is wrong with a provider's key: neither has signed anything.
    return error instanceof errors.JWKSNoMatchingKey ? 'unknown-key' : 'not-signed'
  }
}

/** OpenID Connect Discovery §4: behind the path, if there is one, without a slash at its end. */
function discoveryAddress(issuer: string): string {
  return `${issuer.replace(/\/$/, '')}/.well-known/openid-configuration`
}

function providerUnavailable(): Problem {
  return unavailable({
    detail: 'The account’s identity provider can’t be reached.',
    retryAfterSeconds: ASKED_AGAIN_AFTER_SECONDS
  })
}
