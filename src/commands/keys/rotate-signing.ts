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
 * Stores the key that signs next, and says when. Where one waits for its turn already, nothing changes: two operators
 * at once, or one twice, rotate once. Urgent: a new key signs at once, and every other is believed no more.
 */
export async function rotateSigning(
  { prisma, masterKeys }: KeysOptions,
  { isUrgent = false } = {}
): Promise<{ lines: string[]; trouble: null }> {
  const stored = createSigningKeys(prisma)
  const key = generateSigningKey(masterKeys)
  if (isUrgent) {
    const forgotten = await stored.replaceAll(key)
    return {
      lines: [
        `${key.id} signs from now on, and ${forgotten} earlier keys are forgotten.`,
        `Access tokens of before are dead on our routes within ${SIGNING_KEYS_KNOWN_WITHIN_SECONDS} seconds, and at hosts when they read the JWKS again, after ${JWKS_MAX_AGE_SECONDS} seconds at most.`
      ],
      trouble: null
    }
  }
  const isNew = await stored.createNext(key, PUBLISHED_BEFORE_SIGNING_SECONDS)
  const { keys, at } = await stored.list()
  const [newest, former] = scheduleOf(keys, at)
  if (!newest) throw new Error('no signing key: the service has never started on this database')
  const what = isNew ? 'is published now' : 'was published before, and nothing has changed: it'
  const end = former?.retiresAt ? `; ${former.id} is trusted until ${isoOf(former.retiresAt)}` : ''
  return {
    lines: [`${newest.id} ${what} and signs from ${isoOf(newest.signsFrom)}${end}.`],
    trouble: null
  }
}

function isoOf(at: Date): string {
  return at.toISOString()
}
