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

function sealerOf(masterKeys: MasterKeys, id: ServiceKeyId): Sealer {
  return createSealer(masterKeys, `${id}-key`)
}
