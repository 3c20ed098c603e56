import {
  JWKS_MAX_AGE_SECONDS,
  PUBLISHED_BEFORE_SIGNING_SECONDS,
  SIGNING_KEYS_KNOWN_WITHIN_SECONDS,
  scheduleOf
} from '../../core/signing-key-schedule.ts'
import { generateSigningKey } from '../../crypto/signing-keys.ts'
import { createSigningKeys } from '../../data/keys/signing-keys.ts'
import type { KeysOptions } from './list.ts'

/**
 * Stores the key that signs next, and reports when it signs. If a next key is already stored, nothing changes: two
 * concurrent rotations, or a repeated one, rotate once. An urgent rotation makes a new key sign immediately and deletes
 * every other key.
 */
export async function rotateSigning(
  { prisma, masterKeys }: KeysOptions,
  { isUrgent = false } = {}
): Promise<{ lines: string[]; failure: null }> {
  const stored = createSigningKeys(prisma)
  const key = generateSigningKey(masterKeys)
  if (isUrgent) {
    const deleted = await stored.replaceAll(key)
    return {
      lines: [
        `Key ${key.id} signs from now on. ${deleted} earlier keys are deleted.`,
        `This service rejects earlier access tokens within ${SIGNING_KEYS_KNOWN_WITHIN_SECONDS} seconds. Hosts reject them when they read the JWKS again, within ${JWKS_MAX_AGE_SECONDS} seconds.`
      ],
      failure: null
    }
  }
  const isNew = await stored.createNext(key, PUBLISHED_BEFORE_SIGNING_SECONDS)
  const { keys, at } = await stored.list()
  const [newest, previous] = scheduleOf(keys, at)
  if (!newest) throw new Error('no signing key: the service has never started on this database')
  const state = isNew ? 'is published now' : 'was already published'
  const lines = [`Key ${newest.id} ${state} and signs from ${newest.signsFrom.toISOString()}.`]
  if (!isNew) lines.push('Nothing has changed.')
  if (previous?.retiresAt) {
    lines.push(`Key ${previous.id} is trusted until ${previous.retiresAt.toISOString()}.`)
  }
  return { lines, failure: null }
}
