// The key under which the record is kept: random, and stored sealed by the master keys, so that it outlives each of them.
import { randomBytes } from 'node:crypto'
import { AUDIT_KEY_BYTES } from '../core/audit.ts'
import { createSealer, type MasterKeys, type Sealer } from '../core/sealing.ts'
import type { AuditKeys } from '../data/audit-keys.ts'

/** There is one key for all records, so that they form one chain. */
const AUDIT_KEY_ID = 'audit'

export interface AuditKeyOptions {
  stored: AuditKeys
  masterKeys: MasterKeys
  now: () => Date
}

/** Opens the deployment's audit key, made at the first start. Throws `UnsealError` when `MASTER_KEYS` can't. */
export async function openAuditKey({
  stored,
  masterKeys,
  now
}: AuditKeyOptions): Promise<Uint8Array> {
  const sealer = auditKeySealer(masterKeys)
  const sealedKey = sealer.seal(randomBytes(AUDIT_KEY_BYTES), [AUDIT_KEY_ID])
  const key = await stored.findOrCreate({ id: AUDIT_KEY_ID, sealedKey, createdAt: now() })
  return sealer.unseal(key.sealedKey, [AUDIT_KEY_ID])
}

/** Opens the audit key for who only reads; null before the service's first start. Throws `UnsealError` as well. */
export async function findAuditKey({
  stored,
  masterKeys
}: Omit<AuditKeyOptions, 'now'>): Promise<Uint8Array | null> {
  const key = await stored.find(AUDIT_KEY_ID)
  return key && auditKeySealer(masterKeys).unseal(key.sealedKey, [AUDIT_KEY_ID])
}

function auditKeySealer(masterKeys: MasterKeys): Sealer {
  return createSealer(masterKeys, 'audit-key')
}
