// Entity tags (RFC 9110 §8.8.3) over a representation.
import { createHash } from 'node:crypto'

/** Returns a strong tag: equal tags mean the same representation, byte for byte. */
export function strongEtag(representation: object): string {
  const digest = createHash('sha256').update(JSON.stringify(representation)).digest('base64url')
  return `"${digest.slice(0, 22)}"`
}

/** Returns whether `If-Match` (RFC 9110 §13.1.1: `*` or a list of tags, compared strongly) contains this tag. */
export function isMatchedBy(ifMatch: string, etag: string): boolean {
  if (ifMatch.trim() === '*') return true
  return ifMatch
    .split(',')
    .map((tag) => tag.trim())
    .includes(etag)
}
