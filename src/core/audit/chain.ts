// Judges the audit trail as it is stored, page by page: each event by its MAC, and all of them by the hash chain over
// their MACs.
import { isGenuine, linkOf, type StoredAuditEvent } from './events.ts'

/** The last link of a chain. A copy noted elsewhere shows later whether the chain up to it still exists. */
export interface ChainHead {
  sequence: bigint
  hash: Uint8Array
}

/** A link of the chain with its event; null if the event does not exist. */
export interface ChainLink extends ChainHead {
  accountId: string
  eventId: string
  occurredAt: string | null
  event: StoredAuditEvent | null
}

/** An event without a link. */
interface UnchainedEvent {
  event: StoredAuditEvent
  /** Whether the event is in the queue of the chain. */
  isQueued: boolean
}

export const BREACHES = {
  'event-missing': 'the event is missing',
  'event-altered': 'the event was altered',
  'event-foreign': 'the event was not written by the service',
  'event-unchained': 'the link of the event is missing',
  'link-missing': 'the link is missing',
  'link-altered': 'the link was altered',
  'checkpoint-altered': 'the checkpoint was not written by the service',
  'head-missing': 'the chain does not contain the noted head'
} as const

/** The first row that differs from what the service wrote. Facts that cannot be known are null. */
export interface Breach {
  what: keyof typeof BREACHES
  sequence: bigint | null
  accountId: string | null
  eventId: string | null
  occurredAt: string | null
}

const NOTHING_KNOWN = { accountId: null, eventId: null, occurredAt: null }

/**
 * Judges the links that follow a head, in the order of their sequence. A null head means the start of the chain. Returns the new
 * head, or the first breach.
 */
export function judgeLinks(
  key: Uint8Array,
  links: Iterable<ChainLink>,
  { head, noted }: { head: ChainHead | null; noted: ChainHead | null }
): { head: ChainHead | null; breach: Breach | null } {
  let last = head
  for (const link of links) {
    const what = faultOf(key, link, last) ?? (isAnother(link, noted) ? 'head-missing' : null)
    if (what) return { head: last, breach: breachAt(what, link, last) }
    last = link
  }
  return { head: last, breach: null }
}

/** Computes the links that chain events, given by their MACs, to a head. */
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

/** Judges the end of a chain: it must reach at least as far as the noted head. */
export function judgeEnd(head: ChainHead | null, noted: ChainHead | null): Breach | null {
  if (!noted || noted.sequence <= (head?.sequence ?? 0n)) return null
  return { what: 'head-missing', sequence: noted.sequence, ...NOTHING_KNOWN }
}

/** Judges an event without a link. Returns null for a genuine event that is still in the queue. */
export function judgeUnchained(
  key: Uint8Array,
  { event, isQueued }: UnchainedEvent
): Breach | null {
  const { accountId, id: eventId, occurredAt } = event
  const named = { sequence: null, accountId, eventId, occurredAt }
  if (!isGenuine(key, event)) return { what: 'event-foreign', ...named }
  return isQueued ? null : { what: 'event-unchained', ...named }
}

/** Formats a head for people to note: `<sequence>:<hash in hex>`. */
export function formatHead({ sequence, hash }: ChainHead): string {
  return `${sequence}:${Buffer.from(hash).toString('hex')}`
}

/** Parses a noted head. Returns null if the text has another form. */
export function parseHead(text: string): ChainHead | null {
  const [, sequence, hash] = /^([1-9]\d{0,18}):([0-9a-f]{64})$/i.exec(text) ?? []
  if (sequence === undefined || hash === undefined) return null
  return { sequence: BigInt(sequence), hash: Buffer.from(hash, 'hex') }
}

function faultOf(
  key: Uint8Array,
  { sequence, hash, event }: ChainLink,
  previous: ChainHead | null
): Breach['what'] | null {
  const expected = sequenceAfter(previous)
  if (sequence > expected) return 'link-missing'
  if (sequence < expected) return 'link-altered'
  if (!event) return 'event-missing'
  if (!isGenuine(key, event)) return 'event-altered'
  const link = linkOf(key, { previous: previous?.hash ?? null, sequence, mac: event.mac })
  return isSame(link, hash) ? null : 'link-altered'
}

function breachAt(what: Breach['what'], link: ChainLink, previous: ChainHead | null): Breach {
  // Only the sequence of a missing link is known.
  if (what === 'link-missing') return { what, sequence: sequenceAfter(previous), ...NOTHING_KNOWN }
  const { sequence, accountId, eventId, occurredAt } = link
  return { what, sequence, accountId, eventId, occurredAt }
}

function sequenceAfter(head: ChainHead | null): bigint {
  return (head?.sequence ?? 0n) + 1n
}

/** Returns whether the noted head has the same sequence but another hash. */
export function isAnother(link: ChainHead, noted: ChainHead | null): boolean {
  return noted !== null && noted.sequence === link.sequence && !isSame(noted.hash, link.hash)
}

// The comparison need not take constant time: the caller has the key.
function isSame(one: Uint8Array, other: Uint8Array): boolean {
  return Buffer.compare(one, other) === 0
}
