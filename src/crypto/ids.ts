// Ids of rows, requests and tokens: UUIDv7 (RFC 9562 §5.7).
import { randomFillSync } from 'node:crypto'
import { v7 } from 'uuid'

const RANDOM_BYTES = 16
/** Ids whose random bytes are read in one system call. The call costs more than an id. */
const BATCH_IDS = 256

const pool = Buffer.alloc(BATCH_IDS * RANDOM_BYTES)
let used = pool.length
let msecs = 0
let seq = 0

/** Returns a new id. The ids of one process increase, even if its clock is set back (RFC 9562 §6.2, method 1). */
export function generateId(): string {
  if (used === pool.length) {
    randomFillSync(pool)
    used = 0
  }
  const random = pool.subarray(used, used + RANDOM_BYTES)
  used += RANDOM_BYTES
  // biome-ignore lint/plugin: ids need a clock that moves, and the injected clock may stand still in a test
  const now = Date.now()
  if (now > msecs) {
    msecs = now
    seq = random.readUInt32BE(6) >>> 1
  } else seq += 1
  return v7({ msecs, seq, random })
}
