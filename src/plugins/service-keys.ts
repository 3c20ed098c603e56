// The service's own keys, opened once at the start: what they are is never rotated, only what they are sealed by.
import type { MasterKeys, ServiceKeyId } from '../core/sealing.ts'
import { generateServiceKey, openServiceKey } from '../core/service-keys.ts'
import type { ServiceKeys } from '../data/service-keys.ts'

export interface ServiceKeysOptions {
  stored: ServiceKeys
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
