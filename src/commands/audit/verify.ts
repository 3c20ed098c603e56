import { BREACHES, type Breach, type ChainHead, formatHead } from '../../core/audit/chain.ts'
import type { Checkpoint } from '../../core/audit/checkpoints.ts'
import type { MasterKeys } from '../../crypto/sealing.ts'
import { findServiceKeyOf } from '../../crypto/service-keys.ts'
import type { Database } from '../../data/engine/database.ts'
import { createServiceKeys } from '../../data/keys/service-keys.ts'
import { createAuditTrail } from '../../data/trail/audit-trail.ts'

interface VerifyOptions {
  prisma: Database['prisma']
  masterKeys: MasterKeys
  /** A head that was noted earlier. */
  noted: ChainHead | null
}

/** Verifies the whole audit trail and returns the result as a line. Throws if it can't be verified. */
export async function verifyAuditTrail({
  prisma,
  masterKeys,
  noted
}: VerifyOptions): Promise<{ isWhole: boolean; line: string }> {
  const stored = createServiceKeys(prisma)
  const key = await findServiceKeyOf({ stored, masterKeys }, 'audit')
  if (!key) throw new Error('there is no audit key: the service has never started on this database')
  const verdict = await createAuditTrail(prisma).verify({ key, noted })
  if (!verdict.isWhole) return { isWhole: false, line: `broken at ${describe(verdict.breach)}` }
  const { verified, unchained, head, checkpoint } = verdict
  const end = head ? `head ${formatHead(head)}` : 'no head yet'
  return {
    isWhole: true,
    line: `${verified} events verified, ${unchained} not chained yet; ${describeCheckpoint(checkpoint, noted)}${end}`
  }
}

function describeCheckpoint(checkpoint: Checkpoint | null, noted: ChainHead | null): string {
  if (!checkpoint) return ''
  const { sequence, removed, occurredBefore } = checkpoint
  const line = `${removed} earlier events removed, up to link ${sequence}, all before ${occurredBefore.toISOString()}; `
  const isTooOld = noted !== null && noted.sequence < sequence
  return isTooOld ? `${line}the noted head was removed with them, so it was not compared; ` : line
}

function describe({ what, sequence, accountId, eventId, occurredAt }: Breach): string {
  const known = Object.entries({ sequence, account: accountId, event: eventId, occurredAt })
    .filter(([, value]) => value !== null)
    .map(([name, value]) => `${name} ${value}`)
  return `${known.join(', ')}: ${BREACHES[what]}`
}
