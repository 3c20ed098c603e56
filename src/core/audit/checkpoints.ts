// The checkpoint of the audit trail: what retention has removed from the start of the hash chain. Verification continues from
// it. A MAC shows that the service wrote it.
import { createHmac, timingSafeEqual } from 'node:crypto'
import type { ChainHead } from './chain.ts'

/** The last removed link, which the first remaining link follows. */
export interface Checkpoint extends ChainHead {
  /** The number of events that were removed so far. */
  removed: bigint
  /** All of them occurred before this instant. */
  occurredBefore: Date
  removedAt: Date
}

export type SignedCheckpoint = Checkpoint & { mac: Uint8Array<ArrayBuffer> }

/** Returns the checkpoint with its HMAC-SHA-256 over all members in a fixed order. */
export function signCheckpoint(key: Uint8Array, checkpoint: Checkpoint): SignedCheckpoint {
  return { ...checkpoint, mac: macOf(key, checkpoint) }
}

/** Returns whether the service wrote this checkpoint exactly as it is. */
export function isGenuineCheckpoint(key: Uint8Array, checkpoint: SignedCheckpoint): boolean {
  const expected = macOf(key, checkpoint)
  const { mac } = checkpoint
  return mac.length === expected.length && timingSafeEqual(mac, expected)
}

/** Returns the start of the month, in UTC, before which events are removed: this month and `months` before it are kept. */
export function retainedFrom(now: Date, months: number): Date {
  return new Date(Date.UTC(now.getUTCFullYear(), now.getUTCMonth() - months, 1))
}

// The first member distinguishes checkpoints from events and links, which have MACs of the same key.
function macOf(key: Uint8Array, checkpoint: Checkpoint): Uint8Array<ArrayBuffer> {
  const { sequence, hash, removed, occurredBefore, removedAt } = checkpoint
  const members = JSON.stringify([
    'checkpoint',
    String(sequence),
    Buffer.from(hash).toString('hex'),
    String(removed),
    occurredBefore.toISOString(),
    removedAt.toISOString()
  ])
  return new Uint8Array(createHmac('sha256', key).update(members).digest())
}
