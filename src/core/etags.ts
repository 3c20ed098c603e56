// Entity tags (RFC 9110 §8.8.3) over a representation.
import { createHash } from 'node:crypto'

/** Returns a strong tag: equal tags mean the same representation, byte for byte. */
export function strongEtag(representation: object): string {
  const digest = createHash('sha256').update(JSON.stringify(representation)).digest('base64url')
  return `"${digest.slice(0, 22)}"`
}

/**
 * Returns whether `If-Match` (RFC 9110 §13.1.1: `*` or a list of tags) contains this tag. A proxy that compresses a response
 * makes its tag weak (`W/`). A tag of the service that was weakened still names exactly one representation, because only the proxy's
 * encoding of it differs, so it matches too.
 */
export function isMatchedBy(ifMatch: string, etag: string): boolean {
  if (ifMatch.trim() === '*') return true
  return ifMatch
    .split(',')
    .map((tag) => tag.trim().replace(/^W\//, ''))
    .includes(etag)
}
