// The keys behind access tokens: made at the first start, sealed in the database, kept here. What other replicas and
// the operator do to them is learnt from there, every few seconds.

import { type Scheduled, scheduleOf } from '../core/signing-key-schedule.ts'
import type { SigningKey, SigningKeys as StoredSigningKeys } from '../data/keys/signing-keys.ts'
import { type MasterKeys, UnsealError } from './sealing.ts'
import { generateSigningKey, openSigningKey, type PublicJwk } from './signing-keys.ts'

/** An unknown `kid` makes us look again for a key that another replica made, but not at every forged token. */
const RELOAD_SECONDS = 10

export interface Jwk extends PublicJwk {
  kid: string
  alg: 'ES256'
  use: 'sig'
}

export interface SigningKeys {
  /** The key that signs now. */
  current(): { kid: string; privateKeyPem: string }
  /** The public key of that id as PEM; null for one that is not trusted, or that we never had. */
  publicKeyPem(kid: string): Promise<string | null>
  /** Every key whose tokens may be alive, or soon will be (RFC 7517); the one that signs now comes first. */
  jwks(): { keys: Jwk[] }
  /**
   * The job of the background: learns of new keys and of those that are trusted no more, and forgets the retired ones.
   * Throws `UnsealError` for a key that `MASTER_KEYS` can't open, when all that it can is in use.
   */
  keepUp(): Promise<void>
}

interface OpenKey {
  kid: string
  jwk: Jwk
  publicKeyPem: string
  privateKeyPem: string
}

/** What is trusted, the key that signs first; what is stored and trusted no more; and what could not be opened. */
interface KeySet {
  trusted: [OpenKey, ...OpenKey[]]
  retired: string[]
  failure: UnsealError | null
}

export interface SigningKeysOptions {
  stored: Pick<StoredSigningKeys, 'list' | 'createFirst' | 'forget'>
  masterKeys: MasterKeys
  now: () => Date
}

/** Opens the deployment's signing keys. Throws `UnsealError` when `MASTER_KEYS` can't open one of them. */
export async function openSigningKeys({
  stored,
  masterKeys,
  now
}: SigningKeysOptions): Promise<SigningKeys> {
  let set = await load([])
  if (set.failure) throw set.failure
  let lookedAt = now().getTime()

  /** What is open already is not opened again. */
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

  function tryToOpen({ id, sealedPrivateKey }: SigningKey): OpenKey | UnsealError {
    try {
      return open({ id, sealedPrivateKey })
    } catch (error) {
      if (error instanceof UnsealError) return error
      throw error
    }
  }

  function open(key: Pick<SigningKey, 'id' | 'sealedPrivateKey'>): OpenKey {
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
      // Either way: a clock that was set back must not put the next look off until it has caught up.
      const elapsedMs = Math.abs(now().getTime() - lookedAt)
      if (find() || elapsedMs < RELOAD_SECONDS * 1000) return find()
      lookedAt = now().getTime()
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

/** The key that signs, then those that have signed, and those that will: hosts exist that take the first. */
function inUse(schedule: Scheduled<SigningKey>[]): Scheduled<SigningKey>[] {
  return (['signing', 'retiring', 'published'] as const).flatMap((wanted) =>
    schedule.filter(({ state }) => state === wanted)
  )
}
