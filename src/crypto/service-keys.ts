// The service's own secret keys: random, one for each use, stored sealed. The master keys only seal them, so that a
// rotation of those changes no MAC and no hash.
import { randomBytes } from 'node:crypto'
import { createSealer, type MasterKeys, type Sealer, type ServiceKeyId } from './sealing.ts'

/** As HMAC-SHA-256 has it: as long as its output (RFC 2104 §3). */
const SERVICE_KEY_BYTES = 32

/** A service key as it is stored. */
export interface SealedServiceKey {
  /** What it is for; also what it is sealed to. */
  id: ServiceKeyId
  sealedKey: string
}

/** A new key from the CSPRNG, sealed. */
export function generateServiceKey(masterKeys: MasterKeys, id: ServiceKeyId): SealedServiceKey {
  const sealedKey = sealerOf(masterKeys, id).seal(randomBytes(SERVICE_KEY_BYTES), [id])
  return { id, sealedKey }
}

/** Opens a stored key. Throws `UnsealError` when `MASTER_KEYS` can't. */
export function openServiceKey(
  masterKeys: MasterKeys,
  { id, sealedKey }: SealedServiceKey
): Uint8Array {
  return sealerOf(masterKeys, id).unseal(sealedKey, [id])
}

/** Where service keys are stored. */
export interface ServiceKeyStore {
  find(id: ServiceKeyId): Promise<SealedServiceKey | null>
  /** Stores the key unless one with its id exists, and returns the stored one. */
  findOrCreate(key: SealedServiceKey, createdAt: Date): Promise<SealedServiceKey>
}

export interface ServiceKeysOptions {
  stored: ServiceKeyStore
  masterKeys: MasterKeys
  now: () => Date
}

/** Opens the deployment's key for a use, made at the first start. Throws `UnsealError` when `MASTER_KEYS` can't. */
export async function openServiceKeyOf(
  { stored, masterKeys, now }: ServiceKeysOptions,
  id: ServiceKeyId
): Promise<Uint8Array> {
  const key = await stored.findOrCreate(generateServiceKey(masterKeys, id), now())
  return openServiceKey(masterKeys, key)
}

/** Opens it for who only reads; null before the service's first start. Throws `UnsealError` as well. */
export async function findServiceKeyOf(
  { stored, masterKeys }: Omit<ServiceKeysOptions, 'now'>,
  id: ServiceKeyId
): Promise<Uint8Array | null> {
  const key = await stored.find(id)
  return key && openServiceKey(masterKeys, key)
}

function sealerOf(masterKeys: MasterKeys, id: ServiceKeyId): Sealer {
  return createSealer(masterKeys, `${id}-key`)
}
