// The service's own secret keys: random, one for each use, stored sealed. The master keys only seal them, so a rotation of
// the master keys changes no MAC and no hash.
import { randomBytes } from 'node:crypto'
import {
  createSealer,
  type MasterKeys,
  masterKeyIdOf,
  SERVICE_KEY_IDS,
  type Sealer,
  type ServiceKeyId,
  UnsealError
} from './sealing.ts'

/** The length of HMAC-SHA-256's output. RFC 2104 §3 discourages shorter keys, and longer ones add little. */
const SERVICE_KEY_BYTES = 32

/** A service key as it is stored. */
export interface SealedServiceKey {
  /** What the key is used for. A key that is sealed under one id cannot be opened under another. */
  id: ServiceKeyId
  sealedKey: string
}

/** Returns a new key of 256 random bits, sealed under its id. */
export function generateServiceKey(masterKeys: MasterKeys, id: ServiceKeyId): SealedServiceKey {
  const sealedKey = sealerOf(masterKeys, id).seal(randomBytes(SERVICE_KEY_BYTES), [id])
  return { id, sealedKey }
}

/** Opens a stored key. Throws `UnsealError` if `MASTER_KEYS` cannot open it. */
export function openServiceKey(
  masterKeys: MasterKeys,
  { id, sealedKey }: SealedServiceKey
): Uint8Array {
  return sealerOf(masterKeys, id).unseal(sealedKey, [id])
}

/** Where service keys are stored. */
interface ServiceKeyStore {
  find(id: ServiceKeyId): Promise<SealedServiceKey | null>
  /** Stores the key unless the store holds one with its id. Returns the stored key. */
  findOrCreate(key: SealedServiceKey, createdAt: Date): Promise<SealedServiceKey>
}

interface ServiceKeysOptions {
  stored: ServiceKeyStore
  masterKeys: MasterKeys
  now: () => Date
}

/**
 * Opens the deployment's key with this id. The first start creates it, and replicas that start at the same time get the
 * same key. Throws `UnsealError` if `MASTER_KEYS` cannot open it.
 */
export async function openServiceKeyOf(
  { stored, masterKeys, now }: ServiceKeysOptions,
  id: ServiceKeyId
): Promise<Uint8Array> {
  const key = await stored.findOrCreate(generateServiceKey(masterKeys, id), now())
  return openAmongOthers({ stored, masterKeys }, key)
}

/**
 * Opens the key for a command that only reads. Returns null before the service's first start. Throws `UnsealError` if
 * `MASTER_KEYS` cannot open it.
 */
export async function findServiceKeyOf(
  { stored, masterKeys }: Omit<ServiceKeysOptions, 'now'>,
  id: ServiceKeyId
): Promise<Uint8Array | null> {
  const key = await stored.find(id)
  return key && openAmongOthers({ stored, masterKeys }, key)
}

/** Opens a stored key. If it cannot be opened, the other keys show whether the value of the master key is wrong. */
async function openAmongOthers(
  { stored, masterKeys }: Omit<ServiceKeysOptions, 'now'>,
  key: SealedServiceKey
): Promise<Uint8Array> {
  try {
    return openServiceKey(masterKeys, key)
  } catch (cause) {
    const masterKeyId = masterKeyIdOf(key.sealedKey)
    if (!masterKeys.some(({ id }) => id === masterKeyId)) throw cause
    for (const id of SERVICE_KEY_IDS) {
      const other = await stored.find(id)
      if (other && masterKeyIdOf(other.sealedKey) === masterKeyId && opens(masterKeys, other))
        throw cause
    }
    throw new UnsealError(
      `MASTER_KEYS holds another key under the id "${masterKeyId}" than the one that sealed the values in the database`,
      { cause }
    )
  }
}

function opens(masterKeys: MasterKeys, key: SealedServiceKey): boolean {
  try {
    openServiceKey(masterKeys, key)
    return true
  } catch {
    return false
  }
}

function sealerOf(masterKeys: MasterKeys, id: ServiceKeyId): Sealer {
  return createSealer(masterKeys, `${id}-key`)
}
