// Ids of rows, requests and tokens: UUIDv7 (RFC 9562 §5.7).
import { randomFillSync } from 'node:crypto'
import { v7 } from 'uuid'

const RANDOM_BYTES = 16
/** Random bytes are asked for in batches: the system call costs more than the id. */
const BATCH = 256

const pool = Buffer.alloc(BATCH * RANDOM_BYTES)
let used = pool.length
let msecs = 0
let seq = 0

/** A new id; of the ids of one process, the later is the greater (RFC 9562 §6.2, method 1), whatever the clock does. */
export function generateId(): string {
  if (used === pool.length) {
    randomFillSync(pool)
    used = 0
  }
  const random = pool.subarray(used, used + RANDOM_BYTES)
  used += RANDOM_BYTES
  // biome-ignore lint/plugin: what uuid reads where it is told no time; the service's clock may be a test's, and stand still
  const now = Date.now()
  if (now > msecs) {
    msecs = now
    seq = random.readUInt32BE(6) >>> 1
  } else seq += 1
  return v7({ msecs, seq, random })
}
