/**
 * A second implementation of RFC 6238, from the RFC and with node:crypto only. A mistake in the library
 * that the service uses can therefore not confirm itself in the tests.
 */
import { createHmac } from 'node:crypto'

export interface Authenticator {
  /** The setup key as an app takes it: base32 (RFC 4648 §6), case, spaces and padding ignored. */
  secret: string
  algorithm?: 'SHA1' | 'SHA256' | 'SHA512'
  digits?: number
  periodSeconds?: number
}

const BASE32 = 'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567'

/** Decodes a base32 text. Throws at a character that is not in the alphabet. */
export function decodeBase32(text: string): Buffer {
  const bytes: number[] = []
  let pending = 0
  let pendingBits = 0
  for (const character of text.replace(/[\s=]/g, '').toUpperCase()) {
    const value = BASE32.indexOf(character)
    if (value < 0) throw new TypeError(`not base32: ${character}`)
    pending = (pending << 5) | value
    pendingBits += 5
    if (pendingBits >= 8) {
      pendingBits -= 8
      bytes.push(pending >> pendingBits)
      pending &= (1 << pendingBits) - 1
    }
  }
  return Buffer.from(bytes)
}

/** Returns the counter T of RFC 6238 §4.2 at an instant, with T0 = 0. */
export function timeStepAt(at: Date, periodSeconds = 30): number {
  return Math.floor(at.getTime() / 1000 / periodSeconds)
}

/** Returns the code that an authenticator app shows at an instant (RFC 6238 §4.2, RFC 4226 §5.3). */
export function codeAt(
  { secret, algorithm = 'SHA1', digits = 6, periodSeconds = 30 }: Authenticator,
  at: Date
): string {
  const counter = Buffer.alloc(8)
  counter.writeBigUInt64BE(BigInt(timeStepAt(at, periodSeconds)))
  const mac = createHmac(algorithm, decodeBase32(secret)).update(counter).digest()
  const offset = mac.readUInt8(mac.length - 1) & 0x0f
  const truncated = mac.readUInt32BE(offset) & 0x7fffffff
  return String(truncated % 10 ** digits).padStart(digits, '0')
}
