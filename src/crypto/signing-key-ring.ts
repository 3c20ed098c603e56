// The open signing keys of this replica. They are stored sealed in the database, where other replicas and the operator add
// and remove keys. The ring follows these changes every few seconds.
import { type Scheduled, type ScheduledKey, scheduleOf } from '../core/signing-key-schedule.ts'
import { type MasterKeys, UnsealError } from './sealing.ts'
import {
  generateSigningKey,
  type NewSigningKey,
  openSigningKey,
  type PublicJwk
} from './signing-keys.ts'

/** An unknown `kid` may belong to a new key of another replica, so the keys are loaded, but not for every forged token. */
const RELOAD_SECONDS = 10

interface Jwk extends PublicJwk {
  kid: string
  alg: 'ES256'
  use: 'sig'
}

export interface SigningKeyRing {
  /** Returns the key that signs now. */
  current(): { kid: string; privateKeyPem: string }
  /**
   * Returns the public key with this id as PEM; null for an unknown key or a key that is no longer trusted. An unknown id
   * makes the ring load the stored keys, at most every ten seconds. Rejects if the store is unavailable.
   */
  publicKeyPem(kid: string): Promise<string | null>
  /** Returns every key whose tokens are valid now or will be soon, as a JWK Set (RFC 7517 §5). The signing key is first. */
  jwks(): { keys: Jwk[] }
  /**
   * Loads new keys, drops the keys that are no longer trusted, and deletes the retired ones from the store. A background
   * job calls it. Throws `UnsealError` if `MASTER_KEYS` cannot open a key, after it has loaded all the others.
   */
  keepUp(): Promise<void>
}

interface OpenKey {
  kid: string
  jwk: Jwk
  publicKeyPem: string
  privateKeyPem: string
}

interface KeySet {
  /** The signing key comes first. */
  trusted: [OpenKey, ...OpenKey[]]
  /** The ids of stored keys that are no longer trusted. */
  retired: string[]
  /** Why a key could not be opened; null if all could. */
  failure: UnsealError | null
}

interface StoredSigningKey extends ScheduledKey {
  sealedPrivateKey: string
}

/** Where signing keys are stored. */
interface SigningKeyStore {
  /** Returns all keys, and the time of the store's clock, which all replicas share. */
  list(): Promise<{ keys: StoredSigningKey[]; at: Date }>
  /** Stores a key that signs immediately, unless the store holds any key. */
  createFirst(key: NewSigningKey): Promise<void>
  /** Deletes keys permanently. */
  forget(ids: readonly string[]): Promise<unknown>
}

interface SigningKeyRingOptions {
  stored: SigningKeyStore
  masterKeys: MasterKeys
  now: () => Date
}

/**
 * Opens the deployment's signing keys. The first start creates one, and replicas that start at the same time get the same
 * key. Throws `UnsealError` if `MASTER_KEYS` cannot open one of them.
 */
export async function openSigningKeyRing({
  stored,
  masterKeys,
  now
}: SigningKeyRingOptions): Promise<SigningKeyRing> {
  let set = await load([])
  if (set.failure) throw set.failure
  let loadStartedAt = now().getTime()

  /** Loads all keys that are in use. Known ones are not opened again. */
  async function load(known: readonly OpenKey[]): Promise<KeySet> {
    const { keys, at } = await stored.list()
    const schedule = scheduleOf(keys, at)
    if (schedule.length === 0) {
      await stored.createFirst(generateSigningKey(masterKeys))
      return load(known)
    }
    const failures: UnsealError[] = []
    const trusted = inUse(schedule).flatMap((key) => {
      const open = known.find(({ kid }) => kid === key.id) ?? tryToOpen(key)
      if (!(open instanceof UnsealError)) return [open]
      failures.push(open)
      return []
    })
    const [signing, ...others] = trusted
    if (!signing) throw failures[0]
    const retired = schedule.flatMap(({ id, state }) => (state === 'retired' ? [id] : []))
    return { trusted: [signing, ...others], retired, failure: failures[0] ?? null }
  }

  function tryToOpen(key: StoredSigningKey): OpenKey | UnsealError {
    try {
      return open(key)
    } catch (error) {
      if (error instanceof UnsealError) return error
      throw error
    }
  }

  function open(key: StoredSigningKey): OpenKey {
    const { privateKey, publicKey, publicJwk } = openSigningKey(masterKeys, key)
    return {
      kid: key.id,
      jwk: { ...publicJwk, kid: key.id, alg: 'ES256', use: 'sig' },
      publicKeyPem: publicKey.export({ format: 'pem', type: 'spki' }).toString(),
      privateKeyPem: privateKey.export({ format: 'pem', type: 'pkcs8' }).toString()
    }
  }

  return {
    current: () => set.trusted[0],

    async publicKeyPem(kid) {
      const find = () => set.trusted.find((key) => key.kid === kid)?.publicKeyPem ?? null
      // The absolute value: otherwise a clock that was set back would delay the next load until it has caught up.
      const elapsedMs = Math.abs(now().getTime() - loadStartedAt)
      if (find() || elapsedMs < RELOAD_SECONDS * 1000) return find()
      loadStartedAt = now().getTime()
      set = await load(set.trusted)
      return find()
    },

    jwks: () => ({ keys: set.trusted.map(({ jwk }) => jwk) }),

    async keepUp() {
      set = await load(set.trusted)
      if (set.retired.length > 0) await stored.forget(set.retired)
      if (set.failure) throw set.failure
    }
  }
}

/** Returns the signing key, then the retiring and the published ones. Some hosts use only the first key of a JWKS. */
function inUse(schedule: Scheduled<StoredSigningKey>[]): Scheduled<StoredSigningKey>[] {
  return (['signing', 'retiring', 'published'] as const).flatMap((state) =>
    schedule.filter((key) => key.state === state)
  )
}
