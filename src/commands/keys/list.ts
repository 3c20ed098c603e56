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

/** Step tokens are made under the first master key and stored nowhere, so a former one outlives its last value by this. */
const STEP_TOKENS_LIVE = `${ENROLL_STEP_TTL_SECONDS / 60} minutes`

/** Both tables; and where a value is sealed by a key that the ring lacks, which. */
export async function listKeys({
  prisma,
  masterKeys
}: KeysOptions): Promise<{ lines: string[]; trouble: string | null }> {
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
  return { lines, trouble: lackOf(census) }
}

/** Null: the ring holds every master key that seals something. */
export function lackOf(census: readonly Census[]): string | null {
  const lacks = census
    .filter(({ isHeld }) => !isHeld)
    .map(({ masterKeyId, counts }) => `${whatIs(counts)} under "${masterKeyId}"`)
  return lacks.length === 0
    ? null
    : `sealed by a master key that MASTER_KEYS does not hold: ${lacks.join('; ')}`
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
  if (isNewest) return 'seals what is new'
  if (!isHeld) return 'missing from MASTER_KEYS'
  return total > 0
    ? 'needed'
    : `may be dropped, ${STEP_TOKENS_LIVE} after no replica has had it first`
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

function whatIs(counts: Census['counts']): string {
  return SEALED_KINDS.filter((kind) => counts[kind] > 0)
    .map((kind) => `${counts[kind]} ${kind}`)
    .join(', ')
}
