// Which API keys were valid when this replica last looked them up. It says only whether an address must pay for the next
// look-up, never whether a key is valid now.
import { type BearerKey, hashBearerSecret } from '../../core/bearer-keys.ts'

/** Far more than the keys that back ends use at the same time. A stranger can't fill it: no invented key is noted. */
const KEYS_MAX = 10_000

export function createKeyMemory() {
  const verdicts = new Map<string, boolean>()
  // The hash, so that the secrets of valid keys do not stay in memory.
  const nameOf = ({ id, secret }: BearerKey) =>
    `${id}.${Buffer.from(hashBearerSecret(secret)).toString('base64')}`

  return {
    /** Returns whether the key was valid the last time; null if it is unknown. */
    recall: (key: BearerKey): boolean | null => verdicts.get(nameOf(key)) ?? null,

    /** Notes whether the key is valid, and forgets the key that was noted the longest ago. */
    note(key: BearerKey, isValid: boolean): void {
      const name = nameOf(key)
      verdicts.delete(name)
      verdicts.set(name, isValid)
      const [oldest] = verdicts.keys()
      if (verdicts.size > KEYS_MAX && oldest !== undefined) verdicts.delete(oldest)
    }
  }
}
