// The instants that the service can store and return. RFC 3339 writes a year with four digits. In UTC, the database has no
// year 0, and its client cannot read a year of five digits.

const FIRST_YEAR = 1
const LAST_YEAR = 9999

/** The last of these instants in seconds since 1970, which is the unit of a NumericDate (RFC 7519 §2). */
export const LAST_NUMERIC_DATE = Date.UTC(LAST_YEAR, 11, 31, 23, 59, 59) / 1000

/** Returns whether an instant can be stored and returned; false for an invalid date. The years count in UTC. */
export function isRepresentable(at: Date): boolean {
  const year = at.getUTCFullYear()
  return year >= FIRST_YEAR && year <= LAST_YEAR
}
