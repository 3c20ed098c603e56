// Entity tags (RFC 9110 §8.8.3) over a row's version.

/** A strong tag: equal tags promise the same representation, byte for byte. */
export function strongEtag(version: number): string {
  return `"${version}"`
}

/** Whether `If-Match` (RFC 9110 §13.1.1: `*` or a list of tags, compared strongly) names this version. */
export function isMatchedBy(ifMatch: string, version: number): boolean {
  if (ifMatch.trim() === '*') return true
  return ifMatch
    .split(',')
    .map((tag) => tag.trim())
    .includes(strongEtag(version))
}
