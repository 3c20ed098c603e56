import { ENROLL_STEP_TTL_SECONDS } from '../../core/claims.ts'
import { type Scheduled, scheduleOf } from '../../core/signing-key-schedule.ts'
import { SEALED_KINDS } from '../../crypto/resealing.ts'
import type { MasterKeys } from '../../crypto/sealing.ts'
import type { Database } from '../../data/engine/database.ts'
import { createSealedValues } from '../../data/keys/sealed-values.ts'
import { createSigningKeys, type SigningKey } from '../../data/keys/signing-keys.ts'
import { type Census, takeCensus } from './census.ts'
import { columnsOf } from './columns.ts'

export interface KeysOptions {
  prisma: Database['prisma']
  masterKeys: MasterKeys
}

/** Step tokens are sealed under the first master key and not stored. A replaced key is needed until the last one expires. */
const STEP_TOKENS_VALID_FOR = `${ENROLL_STEP_TTL_SECONDS / 60} minutes`

/** Returns both tables. The failure names the master keys that seal values but are missing from the ring. */
export async function listKeys({
  prisma,
  masterKeys
}: KeysOptions): Promise<{ lines: string[]; failure: string | null }> {
  const census = await takeCensus(createSealedValues(prisma), masterKeys)
  const { keys, at } = await createSigningKeys(prisma).list()
  const lines = [
    ...columnsOf([
      ['master key', ...SEALED_KINDS, 'state'],
      ...census.map((entry) => masterKeyRow(entry, masterKeys))
    ]),
    '',
    ...columnsOf([
      ['signing key', 'state', 'created', 'signs from', 'trusted until'],
      ...scheduleOf(keys, at).map(signingKeyRow)
    ])
  ]
  return { lines, failure: describeMissingKeys(census) }
}

/** Returns null if the ring contains every master key that seals a value. */
export function describeMissingKeys(census: readonly Census[]): string | null {
  const missing = census
    .filter(({ isHeld }) => !isHeld)
    .map(({ masterKeyId, counts }) => `${describeCounts(counts)} under "${masterKeyId}"`)
  return missing.length === 0
    ? null
    : `sealed under a master key that is missing from MASTER_KEYS: ${missing.join('; ')}`
}

function masterKeyRow({ masterKeyId, isHeld, counts, total }: Census, [newest]: MasterKeys) {
  return [
    masterKeyId,
    ...SEALED_KINDS.map((kind) => String(counts[kind])),
    stateOf({ isNewest: masterKeyId === newest.id, isHeld, total })
  ]
}

function stateOf({
  isNewest,
  isHeld,
  total
}: Pick<Census, 'isHeld' | 'total'> & { isNewest: boolean }): string {
  if (isNewest) return 'seals new values'
  if (!isHeld) return 'missing from MASTER_KEYS'
  return total > 0
    ? 'needed'
    : `may be dropped ${STEP_TOKENS_VALID_FOR} after the last replica has stopped using it first`
}

function signingKeyRow({ id, state, createdAt, signsFrom, retiresAt }: Scheduled<SigningKey>) {
  return [
    id,
    state,
    createdAt.toISOString(),
    signsFrom.toISOString(),
    retiresAt?.toISOString() ?? '-'
  ]
}

function describeCounts(counts: Census['counts']): string {
  return SEALED_KINDS.filter((kind) => counts[kind] > 0)
    .map((kind) => `${counts[kind]} ${kind}`)
    .join(', ')
}
