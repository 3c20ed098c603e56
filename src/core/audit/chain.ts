// Judges the record as it is found, page by page: each event by its MAC, all of them by the chain over their MACs.
import { isGenuine, linkOf, type StoredAuditEvent } from './events.ts'

/** Where a chain ends. Noted elsewhere, it tells later whether what was there then still is. */
export interface ChainHead {
  sequence: bigint
  hash: Uint8Array
}

/** A link of the chain and the event that it names, null where there is none. */
export interface Seal extends ChainHead {
  accountId: string
  eventId: string
  occurredAt: string | null
  event: StoredAuditEvent | null
}

/** An event that no seal names. */
export interface UnsealedEvent {
  event: StoredAuditEvent
  /** Whether it waits to be sealed. */
  isQueued: boolean
}

export const BREACHES = {
  'event-missing': 'the event is gone',
  'event-altered': 'the event was altered',
  'event-foreign': 'the event was not written by the service',
  'event-unsealed': 'the event has lost its seal',
  'seal-missing': 'the seal is gone',
  'seal-altered': 'the seal was altered',
  'head-missing': 'the chain does not hold the head that was noted'
} as const

/** The first row that is not as it was written; null for what can't be known of it. */
export interface Breach {
  what: keyof typeof BREACHES
  sequence: bigint | null
  accountId: string | null
  eventId: string | null
  occurredAt: string | null
}

const NOTHING_KNOWN = { accountId: null, eventId: null, occurredAt: null }

/**
 * Judges the seals that follow on a head, in the order of their sequence; null is the head of an empty chain. Answers
 * the head after them, or the first breach.
 */
export function judgeSeals(
  key: Uint8Array,
  seals: Iterable<Seal>,
  { head, noted }: { head: ChainHead | null; noted: ChainHead | null }
): { head: ChainHead | null; breach: Breach | null } {
  let last = head
  for (const seal of seals) {
    const what = faultOf(key, seal, last) ?? (isAnother(seal, noted) ? 'head-missing' : null)
    if (what) return { head: last, breach: breachAt(what, seal, last) }
    last = seal
  }
  return { head: last, breach: null }
}

/** The links that chain events, by their MACs, to all before them. */
export function chainOn(
  key: Uint8Array,
  head: ChainHead | null,
  macs: readonly Uint8Array[]
): ChainHead[] {
  let last = head
  return macs.map((mac) => {
    const sequence = sequenceAfter(last)
    last = { sequence, hash: linkOf(key, { previous: last?.hash ?? null, sequence, mac }) }
    return last
  })
}

/** Judges the end of a chain: whether it reaches as far as the head that was noted. */
export function judgeEnd(head: ChainHead | null, noted: ChainHead | null): Breach | null {
  if (!noted || noted.sequence <= (head?.sequence ?? 0n)) return null
  return { what: 'head-missing', sequence: noted.sequence, ...NOTHING_KNOWN }
}

/** Judges an event without a seal; null for one of ours that waits for it. */
export function judgeUnsealed(key: Uint8Array, { event, isQueued }: UnsealedEvent): Breach | null {
  const { accountId, id: eventId, occurredAt } = event
  const named = { sequence: null, accountId, eventId, occurredAt }
  if (!isGenuine(key, event)) return { what: 'event-foreign', ...named }
  return isQueued ? null : { what: 'event-unsealed', ...named }
}

/** A head as people note it: `<sequence>:<hash in hex>`. */
export function formatHead({ sequence, hash }: ChainHead): string {
  return `${sequence}:${Buffer.from(hash).toString('hex')}`
}

/** Reads a noted head; null for what is none. */
export function parseHead(text: string): ChainHead | null {
  const [, sequence, hash] = /^([1-9]\d{0,18}):([0-9a-f]{64})$/i.exec(text) ?? []
  if (sequence === undefined || hash === undefined) return null
  return { sequence: BigInt(sequence), hash: Buffer.from(hash, 'hex') }
}

function faultOf(
  key: Uint8Array,
  { sequence, hash, event }: Seal,
  previous: ChainHead | null
): Breach['what'] | null {
  const expected = sequenceAfter(previous)
  if (sequence > expected) return 'seal-missing'
  if (sequence < expected) return 'seal-altered'
  if (!event) return 'event-missing'
  if (!isGenuine(key, event)) return 'event-altered'
  const link = linkOf(key, { previous: previous?.hash ?? null, sequence, mac: event.mac })
  return isSame(link, hash) ? null : 'seal-altered'
}

function breachAt(what: Breach['what'], seal: Seal, previous: ChainHead | null): Breach {
  // Of a seal that is gone, its place is all that there is.
  if (what === 'seal-missing') return { what, sequence: sequenceAfter(previous), ...NOTHING_KNOWN }
  const { sequence, accountId, eventId, occurredAt } = seal
  return { what, sequence, accountId, eventId, occurredAt }
}

function sequenceAfter(head: ChainHead | null): bigint {
  return (head?.sequence ?? 0n) + 1n
}

function isAnother(seal: ChainHead, noted: ChainHead | null): boolean {
  return noted !== null && noted.sequence === seal.sequence && !isSame(noted.hash, seal.hash)
}

// In no constant time: whoever verifies has the key.
function isSame(one: Uint8Array, other: Uint8Array): boolean {
  return Buffer.compare(one, other) === 0
}
